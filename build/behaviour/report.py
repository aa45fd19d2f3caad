"""The report's files: one page, its figures, the plots for slides, and the forecast of every shopper."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from build.behaviour import glance, propensity, repeats, segments, together, trends
from build.behaviour.shop import Shop
from build.progress import progress
from build.shelf.interactions import Interactions
from shelfbridge.measure.report import GREY

DIGITS = 6
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "svg.fonttype": "none",
    "svg.hashsalt": "shelfbridge",
}
Draw = Callable[[Figure, dict[str, Any]], None]
"""Draws one plot of a chapter's figures on an empty figure, and nothing else."""
PLOTS: dict[str, Mapping[str, tuple[tuple[float, float], Draw]]] = {
    "glance": glance.PLOTS,
    "segments": segments.PLOTS,
    "repeats": repeats.PLOTS,
    "together": together.PLOTS,
    "trends": trends.PLOTS,
    "propensity": propensity.PLOTS,
}
"""Size in inches and drawing of each plot, by chapter."""


def behaviour(seen: Interactions, days: int, console: Console) -> tuple[dict[str, Any], list[tuple[int, float]]]:
    """All chapters of the report.

    Where no price is known, pieces take the place of money.

    Returns:
        The figures by chapter, and number and probability of every user, the likeliest first.

    Raises:
        DataError: the history is too short for one of them.
    """
    priced = not np.isnan(seen.price).all()
    shop = Shop(seen if priced else replace(seen, price=np.ones_like(seen.price)))
    chapters = (glance.glance, segments.segments, repeats.repeats, together.together, trends.trends)
    figures: dict[str, Any] = {}
    with progress(console) as bar:
        for chapter in bar.track(chapters, description="chapters"):
            figures[chapter.__name__] = chapter(shop)
        figures["propensity"], forecast = propensity.propensity(shop, days)
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
    drawn: dict[str, str] = {}
    with matplotlib.rc_context(STYLE):
        for chapter, plots in PLOTS.items():
            for plot, (size, draw) in plots.items():
                figure = Figure(figsize=size, layout="constrained")
                draw(figure, figures[chapter])
                figure.savefig(folder / "plots" / f"{plot}.png", dpi=110)
                figure.savefig(text := StringIO(), format="svg", metadata={"Date": None, "Creator": None})
                drawn[plot] = text.getvalue()[text.getvalue().index("<svg") :]
    (folder / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    rows = "".join(f"{user},{share:.4f}\n" for user, share in forecast)
    (folder / "propensity.csv").write_text("user_number,probability\n" + rows)
    (folder / "report.html").write_text(_page(figures, drawn, name, currency))


def rounded(figure: Any) -> Any:
    """Figures to six significant digits; whatever else is in them stays."""
    if isinstance(figure, dict):
        return {key: rounded(value) for key, value in figure.items()}
    if isinstance(figure, list | tuple):
        return [rounded(value) for value in figure]
    return float(f"{figure:.{DIGITS}g}") if isinstance(figure, float) else figure


def _page(figures: dict[str, Any], plots: dict[str, str], name: str, currency: str) -> str:
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
    return pages.get_template("page.html").render(**figures, plots=plots, name=name)
