"""What a user may ask of a shop: all that is kept of them, and to be forgotten."""

import argparse
import sys
from collections.abc import Sequence

from clients.program import VARIABLES, add_server, add_user_token, client_arguments, print_json
from shelfbridge.client import ShopperClient
from shelfbridge.program import OK, UNAVAILABLE, command_line, run

EXAMPLES = f"""\
examples:
  all that is kept of a user, as JSON
    python -m clients.profile export u7 > u7.json
  remove it; what was removed is printed
    python -m clients.profile forget u7

{VARIABLES}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; the exit status is returned."""
    parser = command_line(
        "clients.profile", "Export or remove all that a Shelfbridge server keeps of a user.", EXAMPLES
    )
    parser.add_argument("action", choices=("export", "forget"))
    parser.add_argument("user", help="the shop's id of the user")
    add_user_token(parser)
    add_server(parser)
    return run(parser, arguments, _act, UNAVAILABLE)


def _act(flags: argparse.Namespace) -> int:
    with ShopperClient(**client_arguments(flags)) as client:
        act = client.export if flags.action == "export" else client.forget
        print_json(act(flags.user, user_token=flags.user_token))
    return OK


if __name__ == "__main__":
    sys.exit(main())
