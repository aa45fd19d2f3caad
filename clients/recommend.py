"""A shelf for the eye: for a shopper, for a session, beside a product, or of what sells now."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import get_args

from rich.console import Console

from clients.program import (
    OK,
    VARIABLES,
    add_server,
    complaints,
    ended,
    parse_filters,
    program,
    settings_of,
)
from clients.show import show_shelf
from shelfbridge.client import ShopperClient
from shelfbridge.contract import DEFAULT_K, MAX_K, Shelf
from shelfbridge.request import Filters

EXAMPLES = f"""\
examples:
  for a shopper whom the shop knows; a stranger is shown what is popular
    python -m clients.recommend --user u7
  for somebody who is not logged in, by what they just looked at, the latest last
    python -m clients.recommend --items SB00012,SB00400
  beside a product
    python -m clients.recommend --with SB00012 -k 5
  what a shopper may need again
    python -m clients.recommend --user u7 --shelf buy_again --filter in_stock=true

{VARIABLES}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; the exit status is returned."""
    flags = _parser().parse_args(arguments)
    return ended(lambda: _show(flags), complaints())


def _show(flags: argparse.Namespace) -> int:
    with ShopperClient(**settings_of(flags).client_arguments()) as client:
        result = client.recommend(
            user=flags.user,
            user_token=flags.user_token,
            items=[item for item in flags.items.split(",") if item],
            with_item=flags.with_item,
            shelf=flags.shelf,
            k=flags.k,
            filters=parse_filters(flags.filter),
        )
    if flags.json:
        sys.stdout.write(json.dumps(asdict(result), ensure_ascii=False, indent=2) + "\n")
    else:
        Console(highlight=False).print(show_shelf(result))
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = program("recommend", "Fill a shelf with products that a Shelfbridge server knows.", EXAMPLES)
    parser.add_argument("--user", help="the shop's id of the shopper")
    parser.add_argument("--user-token", metavar="TOKEN", help="proof that it is them, where the server asks for it")
    parser.add_argument("--items", default="", metavar="A,B", help="products just looked at, the latest last")
    parser.add_argument("--with", dest="with_item", metavar="ITEM", help="product that the shelf stands beside")
    parser.add_argument("--shelf", choices=get_args(Shelf), help="default: goes_with beside a product, else for_you")
    parser.add_argument(
        "-k", type=int, default=DEFAULT_K, help=f"how many products, 1 to {MAX_K} (default {DEFAULT_K})"
    )
    parser.add_argument(
        "--filter", action="append", default=[], metavar="FIELD=VALUE", help=", ".join(Filters.model_fields)
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    add_server(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
