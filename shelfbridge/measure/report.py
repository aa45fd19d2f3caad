"""A measurement as people look at it: one record as JSON, Markdown and a picture.

A program declares what its tables hold (a format by column) and what its picture shows; everything else is here.
"""

import json
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GREY = "#4c78a8", "#f58518", "#54a24b", "#e45756", "#bab0ac"
WHISKER = "#555555"
MEAN = "{mean:.3f} [{low:.3f}, {high:.3f}]"
DIFFERENCE = "{difference:+.4f} [{low:+.4f}, {high:+.4f}]"
"""Formats of a figure with its interval."""
Cell = str | Callable[[Any], str]
"""A format of a row's fields, such as "{ms:.2f}" or "{dev[mean]:.3f}", or a function of the row."""


class _Blank(string.Formatter):
    """Formats as `str.format` does, None as nothing."""

    def format_field(self, value: Any, format_spec: str) -> str:
        return "" if value is None else str(super().format_field(value, format_spec))


def cell(form: Cell, row: Any) -> str:
    """Return what a column shows of a row: a mapping, or an object by its attributes."""
    if callable(form):
        return form(row)
    fields: Mapping[str, Any] = row if isinstance(row, Mapping) else vars(row)
    return _Blank().vformat(form, (), fields)


@dataclass(frozen=True)
class Table:
    """Rows of text under a head, and a title where a report has several tables."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""

    @classmethod
    def of(cls, columns: Mapping[str, Cell], rows: Iterable[Any]) -> "Table":
        """Return the table of some rows, by the columns' formats.

        Raises:
            KeyError: a row lacks a field that a format names.
        """
        return cls(list(columns), [[cell(form, row) for form in columns.values()] for row in rows])

    def __str__(self) -> str:
        lines = [f"| {' | '.join(cells)} |" for cells in (self.head, ["---"] * len(self.head), *self.rows)]
        return "\n".join([f"### {self.title}", "", *lines] if self.title else lines)


@dataclass(frozen=True)
class Report:
    """What is written of a measurement.

    name: of the files. record: what the JSON holds. blocks: paragraphs and tables; empty ones are left out. draw: draws
    the picture, if there is one. size: of the picture, inches.
    """

    name: str
    record: Any
    blocks: Sequence[str | Table]
    draw: Callable[[Figure], None] | None = None
    size: tuple[float, float] = (9.0, 4.5)

    @property
    def markdown(self) -> str:
        """The blocks with a blank line between them."""
        return markdown(self.blocks)

    def write(self, folder: Path, *, quiet: bool = True) -> None:
        """Write `<name>.json`, `<name>.md` and, if it is drawn, `<name>.png`; print the text unless `quiet`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(self.record, indent=2) + "\n")
        (folder / f"{self.name}.md").write_text(self.markdown)
        if self.draw is not None:
            picture(folder / f"{self.name}.png", self.draw, self.size)
        if not quiet:
            print(self.markdown, end="")


def markdown(blocks: Sequence[str | Table]) -> str:
    """Return the blocks with a blank line between them, empty ones left out."""
    return "\n\n".join(text for block in blocks if (text := str(block).strip("\n"))) + "\n"


def picture(path: Path, draw: Callable[[Figure], None], size: tuple[float, float]) -> None:
    """Write what `draw` makes of an empty figure of some inches as a PNG."""
    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    figure.savefig(path, dpi=120)


def reach(rows: Sequence[Mapping[str, float]], value: str) -> list[list[float]]:
    """Return how far the intervals of some figures reach below and above them, as Matplotlib's error bars want it."""
    return [
        [max(0.0, row[value] - row["low"]) for row in rows],
        [max(0.0, row["high"] - row[value]) for row in rows],
    ]


def bars(
    axes: Axes,
    names: Sequence[str],
    rows: Sequence[Mapping[str, float]],
    *,
    value: str = "mean",
    colour: str | Sequence[str] = BLUE,
    form: str | None = "{:.3f}",
) -> None:
    """Draw a bar a figure with its interval (`low`, `high`), the first at the top.

    Args:
        axes: to draw on.
        names: beside the bars.
        rows: the figures.
        value: field of a bar's length.
        colour: of the bars.
        form: of the number within a bar; None for none.
    """
    lengths, places = [row[value] for row in rows], range(len(rows))
    axes.barh(places, lengths, xerr=reach(rows, value), color=colour, ecolor=WHISKER, capsize=3)
    axes.set_yticks(places, names, fontsize=8 if len(names) > 8 else None)
    axes.set_ylim(len(names) - 0.5, -0.5)
    if form is not None:
        for place, length in enumerate(lengths):
            axes.text(0.01 * max(lengths), place, form.format(length), va="center", color="white", fontsize=8)


def notes(axes: Axes, at: Iterable[tuple[float, float]], texts: Iterable[str], size: float = 8) -> None:
    """Write a text beside each point."""
    for place, text in zip(at, texts, strict=True):
        axes.annotate(text, place, (4, 4), textcoords="offset points", fontsize=size)
