"""What a user may ask of a shop: all that is kept of them, and to be forgotten."""

import argparse
import json
import sys
from collections.abc import Sequence

from clients.program import OK, VARIABLES, add_server, complaints, ended, program, settings_of
from shelfbridge.client import ShopperClient

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
    parser = program("profile", "Export or remove all that a Shelfbridge server keeps of a user.", EXAMPLES)
    parser.add_argument("action", choices=("export", "forget"))
    parser.add_argument("user", help="the shop's id of the user")
    parser.add_argument("--user-token", metavar="TOKEN", help="proof that it is them, where the server asks for it")
    add_server(parser)
    flags = parser.parse_args(arguments)
    return ended(lambda: _act(flags), complaints())


def _act(flags: argparse.Namespace) -> int:
    with ShopperClient(**settings_of(flags).client_arguments()) as client:
        act = client.export if flags.action == "export" else client.forget
        record = act(flags.user, user_token=flags.user_token)
    sys.stdout.write(json.dumps(record, ensure_ascii=False, indent=2) + "\n")
    return OK


if __name__ == "__main__":
    sys.exit(main())
