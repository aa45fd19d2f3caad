"""Sends what shoppers did: a file of events, one JSON object a line."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clients.program import VARIABLES, add_server, client_arguments, progress
from shelfbridge.client import ShopperClient
from shelfbridge.errors import DataError
from shelfbridge.profiles.events import MAX_ROWS, Event
from shelfbridge.program import FAILED, OK, UNAVAILABLE, command_line, console, run

EXAMPLES = f"""\
an event, one a line
  {{"event_id": "e1", "user": "u7", "kind": "view", "product_id": "SB00012", "time": 1764000000.5}}
  fields: {", ".join(Event.model_fields)}, and user_token where the server asks for it;
  kind is view, click, cart, buy or remove (out of the cart), time is in seconds since 1970, UTC

examples:
  python -m clients.events events.jsonl
  tail -n 100 events.jsonl | python -m clients.events -

Sending a file again changes nothing: an event is known by its user and event_id. Lines that are refused are named with
the reason, and the others are kept.

exit status: 0 all were kept, 1 some were refused, 2 file or settings cannot be used, 3 no answer; send all again

{VARIABLES}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; the exit status is returned."""
    parser = command_line("clients.events", "Tell a Shelfbridge server what shoppers did.", EXAMPLES)
    parser.add_argument("file", type=Path, help=".jsonl file, - for standard input")
    add_server(parser)
    return run(parser, arguments, _send, UNAVAILABLE)


def _send(flags: argparse.Namespace) -> int:
    errors, numbered = console(stderr=True), list(_lines(flags.file))
    accepted, refused = 0, 0
    with ShopperClient(**client_arguments(flags)) as client, progress("sending", errors) as shown:
        bar = shown.add_task("", total=len(numbered))
        for start in range(0, len(numbered), MAX_ROWS):
            part = numbered[start : start + MAX_ROWS]
            tokens = [str(event.pop("user_token", None) or "") for _, event in part]
            receipt = client.send([event for _, event in part], user_tokens=tokens if any(tokens) else None)
            accepted, refused = accepted + receipt.accepted, refused + len(receipt.refused)
            for one in receipt.refused:
                errors.print(f"{flags.file}, line {part[one.place][0]}: {one.reason}", style="red")
            shown.advance(bar, len(part))
    errors.print(f"{accepted:,} events kept, {refused:,} refused")
    return FAILED if refused else OK


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers from 1, and the objects there.

    Raises:
        DataError: the file cannot be read, or a line is no JSON object.
    """
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise DataError(f"{file}: {reason}; give a file of one JSON object a line") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):  # the latter of brackets without end
            event = None
        if not isinstance(event, dict):
            raise DataError(f"{file}, line {number}: not a JSON object; nothing was sent")
        yield number, event


if __name__ == "__main__":
    sys.exit(main())
