"""The report's files: one page, its figures, the plots for slides, and the forecast of every shopper."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from rich.console import Console

from build.behaviour.foresight import propensity
from build.behaviour.glance import glance
from build.behaviour.plots import plots, png, svg
from build.behaviour.repeats import repeats
from build.behaviour.segments import segments
from build.behaviour.together import together
from build.behaviour.trends import trends
from build.progress import progress
from build.shelf.interactions import Interactions

_DIGITS = 6


def behaviour(shop: Interactions, days: int, console: Console) -> tuple[dict[str, Any], list[tuple[int, float]]]:
    """All chapters of the report.

    Where no price is known, pieces take the place of money.

    Returns:
        The figures by chapter, and number and probability of every user, the likeliest first.

    Raises:
        DataError: the history is too short for one of them.
    """
    priced = not np.isnan(shop.price).all()
    if not priced:
        shop = replace(shop, price=np.ones_like(shop.price))
    chapters: dict[str, Callable[[Interactions], dict[str, Any]]] = {
        "glance": glance,
        "segments": segments,
        "repeats": repeats,
        "together": together,
        "trends": trends,
    }
    figures: dict[str, Any] = {}
    with progress(console) as bar:
        task = bar.add_task("chapters", total=len(chapters) + 1)
        for name, chapter in chapters.items():
            figures[name] = chapter(shop)
            bar.advance(task)
        figures["propensity"], forecast = propensity(shop, days)
        bar.advance(task)
    figures["glance"]["value"] = "revenue" if priced else "pieces"
    return figures, forecast


def write_report(
    folder: Path, figures: dict[str, Any], forecast: list[tuple[int, float]], name: str, currency: str
) -> None:
    """Write `report.html`, `figures.json`, `propensity.csv` and `plots/*.png`.

    Args:
        folder: made if need be.
        figures: by chapter.
        forecast: number and probability of every user.
        name: of the shop, for the page's title.
        currency: sign before sums of money.
    """
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    figures = rounded(figures)
    drawings = plots(figures)
    for plot, drawing in drawings.items():
        (folder / "plots" / f"{plot}.png").write_bytes(png(drawing))
    (folder / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    rows = "".join(f"{user},{share:.4f}\n" for user, share in forecast)
    (folder / "propensity.csv").write_text("user_number,probability\n" + rows)
    page = render(figures, {plot: svg(drawing) for plot, drawing in drawings.items()}, name, currency)
    (folder / "report.html").write_text(page)


def rounded(figure: Any) -> Any:
    """Figures to six significant digits; whatever else is in them stays."""
    if isinstance(figure, dict):
        return {key: rounded(value) for key, value in figure.items()}
    if isinstance(figure, list | tuple):
        return [rounded(value) for value in figure]
    return float(f"{figure:.{_DIGITS}g}") if isinstance(figure, float) else figure


def render(figures: dict[str, Any], drawings: dict[str, str], name: str, currency: str) -> str:
    """The page, with the plots inside."""
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    unit = currency if figures["glance"]["value"] == "revenue" else ""
    pages.filters |= {
        "n": lambda value: f"{value:,.0f}",
        "percent": lambda value: f"{100 * value:.0f} %" if value >= 0.095 else f"{100 * value:.2g} %",
        "signed": lambda value: f"{100 * value:+.0f} %",
        "money": lambda value: f"{unit}{value:,.0f}",
        "title": lambda title: " ".join((title.capitalize() if title.isupper() else title).split()),
    }
    return pages.get_template("page.html").render(**figures, plots=drawings, name=name)
