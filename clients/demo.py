"""A handful of searches on the sample, as a first look: `make demo`."""

from rich.console import Console
from rich.rule import Rule

from clients.settings import ClientSettings
from clients.show import show
from shelfbridge.client import SearchClient
from shelfbridge.errors import ShelfbridgeError

SEARCHES: tuple[tuple[str, dict[str, object], bool], ...] = (
    ("waterproof hiking boots", {}, False),
    ("wireles hedphones for runing", {}, False),
    ("desk chair without wheels", {}, False),
    ("27 inch monitor", {"price_max": 400, "in_stock": True}, False),
    ("保温杯", {}, False),
    ("gift for a toddler who likes animals", {}, True),
)
"""Query, filters, and whether `search_deep` answers it."""

NEXT = """
What to try next
  make serve                                                        keep the server up
  .venv/bin/python -m clients.search "camping stove" -k 5 --filter price_max=60
  .venv/bin/python -m clients.search --help                         filters, JSON, batches of queries
  .venv/bin/python -m build --help                                  your own catalogue and judgments
  out/releases/current/manifest.json                                what is served, and what it was made from
"""


def main() -> None:
    """The command line."""
    console = Console()
    try:
        with SearchClient(**ClientSettings.load(timeout=10.0).client_arguments()) as client:
            for query, filters, deep in SEARCHES:
                asked = f"[bold]{query}[/bold]" + "".join(f"  {name}={value}" for name, value in filters.items())
                console.print(Rule(asked + ("  (search_deep)" if deep else ""), align="left"))
                console.print(show(client.search(query, k=5, filters=filters or None, deep=deep)))
                console.print()
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    console.print(NEXT, highlight=False, markup=False)


if __name__ == "__main__":
    main()
