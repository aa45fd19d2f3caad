"""Answers for human eyes: a table, and where the time went."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from shelfbridge.client import Hit, SearchResult, ShelfHit, ShelfResult
from shelfbridge.contract import Shelf

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


NAMES: dict[Shelf, str] = {
    "for_you": "for you",
    "goes_with": "goes with this item",
    "buy_again": "buy again",
    "popular": "popular now",
}
"""Kinds of shelf, as a shop would head them."""


def show(result: SearchResult) -> Group:
    """The hits as a table with a line of times under it, ready for a rich console."""
    return Group(table(result.hits), times(result))


def show_shelf(result: ShelfResult) -> Group:
    """The same of a shelf, with its kind above it."""
    return Group(Text(NAMES[result.shown], style="bold cyan"), table(result.hits), times(result))


def table(hits: Sequence[Hit]) -> Table:
    """Rank, title, price and score of each hit. Text from the catalogue is shown as it is, never as markup."""
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    grid.add_column("#", justify="right", style="dim")
    grid.add_column("product", max_width=90)
    grid.add_column("price", justify="right")
    grid.add_column("score", justify="right", style="cyan")
    for hit in hits:
        product = hit.product or {}
        title = Text(_plain(product.get("title") or hit.product_id), style="bold" if hit.rank == 1 else "")
        if isinstance(hit, ShelfHit) and hit.explored:
            title.append("  tried out", style="dim italic")
        grid.add_row(str(hit.rank), title, price(product), f"{hit.score:.3f}")
    return grid


def times(result: SearchResult | ShelfResult) -> Text:
    """Milliseconds of each step, on the server in sum, and from call to answer."""
    parts = [f"{name} {spent:.1f}" for name, spent in result.steps.items()]
    if parts:
        parts.append(f"server {sum(result.steps.values()):.1f}")
    parts.append(f"total {result.round_trip_ms:.1f} ms")
    if result.attempts > 1:
        parts.append(f"{result.attempts} attempts")
    found = f"{len(result.hits)} products" if result.hits else "nothing found"
    return Text(" · ".join([found, *parts]), style="dim")


def price(product: Mapping[str, Any]) -> Text:
    """The price with two decimals; nothing where it is unknown. Out of stock is said here, where it hurts."""
    known = product.get("price")
    text = Text(f"{known:.2f}" if isinstance(known, int | float) else "")
    if product.get("stock") == 0:
        text.append(" sold out", style="red")
    return text


def _plain(value: object) -> str:
    return _CONTROL.sub(" ", str(value))
