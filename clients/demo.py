"""A first look at the sample, `make demo`: a handful of searches, and a shelf before and after three events."""

import sys
import time
from argparse import Namespace
from uuid import uuid4

from rich.console import Console
from rich.rule import Rule

from clients.program import client_arguments
from clients.show import show, show_shelf
from shelfbridge.client import SearchClient, ShelfResult, ShopperClient
from shelfbridge.profiles import Event, Kind
from shelfbridge.program import OK, UNAVAILABLE, ended

SEARCHES: tuple[tuple[str, dict[str, object], bool], ...] = (
    ("waterproof hiking boots", {}, False),
    ("wireles hedphones for runing", {}, False),
    ("desk chair without wheels", {}, False),
    ("27 inch monitor", {"price_max": 400, "in_stock": True}, False),
    ("保温杯", {}, False),
    ("gift for a toddler who likes animals", {}, True),
)
"""Query, filters, and whether `search_deep` answers it."""
WISHED, ASKED = "camping tent for two", "sleeping bag"
"""What the shopper looks for, and what they search for afterwards."""
STEPS: tuple[Kind, ...] = ("view", "cart", "buy")
"""What they do with the first three that they find."""
PATIENCE = 5.0
"""Seconds that another shelf is waited for."""

NEXT = """
What to try next
  make serve                                                        keep the server up
  .venv/bin/python -m clients.search "camping stove" -k 5 --filter price_max=60
  .venv/bin/python -m clients.search --help                         filters, JSON, batches of queries
  .venv/bin/python -m clients.recommend --help                      shelves; clients.events and clients.profile, too
  .venv/bin/python -m build --help                                  your own catalogue and judgments
  out/releases/current/manifest.json                                what is served, and what it was made from
"""


def main() -> int:
    """Run the program; the exit status is returned."""
    return ended(show_all, UNAVAILABLE)


def show_all() -> int:
    """Searches, shelves, and what to try next."""
    console = Console()
    arguments = client_arguments(Namespace(timeout=10.0))
    with SearchClient(**arguments) as searches, ShopperClient(**arguments) as shoppers:
        search(searches, console)
        if shoppers.ready():
            shop(searches, shoppers, console)
        else:
            console.print("This release was built without interactions, so it has no shelf (python -m build --help).")
    console.print(NEXT, highlight=False, markup=False)
    return OK


def search(client: SearchClient, console: Console) -> None:
    """Searches."""
    for query, filters, deep in SEARCHES:
        asked = f"[bold]{query}[/bold]" + "".join(f"  {name}={value}" for name, value in filters.items())
        console.print(Rule(asked + ("  (search_deep)" if deep else ""), align="left"))
        console.print(show(client.search(query, k=5, filters=filters or None, deep=deep)))
        console.print()


def shop(searches: SearchClient, shoppers: ShopperClient, console: Console) -> None:
    """A shopper whom nobody knows, and what three events change. They are forgotten at the end."""
    user = f"demo-{uuid4().hex}"
    try:
        console.print(Rule("[bold]a shopper whom nobody knows[/bold]", align="left"))
        console.print(show_shelf(shoppers.recommend(user=user, k=5)))
        found = searches.search(WISHED, k=len(STEPS))
        now = time.time()
        shoppers.send(
            [
                Event(event_id=uuid4().hex, user=user, kind=kind, product_id=hit.product_id, time=now)
                for kind, hit in zip(STEPS, found.hits, strict=False)
            ]
        )
        begun = time.monotonic()
        shelf = _once_known(shoppers, user)
        milliseconds = 1e3 * (time.monotonic() - begun)
        done = ", ".join(f"{kind} {hit.product_id}" for kind, hit in zip(STEPS, found.hits, strict=False))
        console.print()
        console.print(Rule(f"[bold]the same, {milliseconds:.0f} ms after three events[/bold]  {done}", align="left"))
        console.print(show_shelf(shelf))
        console.print()
        console.print(Rule(f"[bold]beside {found.hits[0].product_id}[/bold]", align="left"))
        console.print(show_shelf(shoppers.recommend(user=user, with_item=found.hits[0].product_id, k=5)))
        for personal in (False, True):
            console.print()
            who = "  (search_personal: the shopper's)" if personal else "  (search: anybody's)"
            console.print(Rule(f"[bold]{ASKED}[/bold]{who}", align="left"))
            console.print(show(searches.search(ASKED, k=3, user=user, personal=personal)))
    finally:
        shoppers.forget(user)


def _once_known(client: ShopperClient, user: str) -> ShelfResult:
    until = time.monotonic() + PATIENCE
    while (shelf := client.recommend(user=user, k=5)).shown == "popular" and time.monotonic() < until:
        time.sleep(0.001)
    return shelf


if __name__ == "__main__":
    sys.exit(main())
