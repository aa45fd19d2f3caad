"""A shelf for the eye: for a shopper, for a session, beside a product, or of what sells now."""

import argparse
import sys
from collections.abc import Sequence
from typing import get_args

from clients.program import (
    VARIABLES,
    add_k,
    add_result,
    add_server,
    add_user_token,
    client_arguments,
    parse_filters,
    print_result,
)
from clients.show import show_shelf
from shelfbridge.client import ShopperClient
from shelfbridge.contract import Shelf
from shelfbridge.program import OK, UNAVAILABLE, command_line, run

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
    parser = command_line("clients.recommend", "Fill a shelf with products that a Shelfbridge server knows.", EXAMPLES)
    parser.add_argument("--user", help="the shop's id of the shopper")
    add_user_token(parser)
    parser.add_argument("--items", default="", metavar="A,B", help="products just looked at, the latest last")
    parser.add_argument("--with", dest="with_item", metavar="ITEM", help="product that the shelf stands beside")
    parser.add_argument("--shelf", choices=get_args(Shelf), help="default: goes_with beside a product, else for_you")
    add_k(parser)
    add_result(parser)
    add_server(parser)
    return run(parser, arguments, _show, UNAVAILABLE)


def _show(flags: argparse.Namespace) -> int:
    with ShopperClient(**client_arguments(flags)) as client:
        result = client.recommend(
            user=flags.user,
            user_token=flags.user_token,
            items=[item for item in flags.items.split(",") if item],
            with_item=flags.with_item,
            shelf=flags.shelf,
            k=flags.k,
            filters=parse_filters(flags.filter),
        )
    print_result(result, show_shelf(result), as_json=flags.json)
    return OK


if __name__ == "__main__":
    sys.exit(main())
