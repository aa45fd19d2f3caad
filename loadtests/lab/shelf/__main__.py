"""What a shelf and a personal search cost beside a search, and how soon an event shows.

    python -m loadtests.lab.shelf --release out/releases/current --catalogue products.jsonl --judgments judgments.tsv \\
        --interactions interactions.jsonl --out FOLDER [--redis redis://localhost:6379/15]

The shoppers of the interactions are sent to an embedded server as events, as if the last had happened just now. Then
`search`, `search_personal`, and the shelves *for you* and *goes with* take turns, with one client and with many, in
closed loops: `p50` and `p99`, milliseconds; `per s`; `CPU ms`, of the server per answer. No query comes twice, and no
shelf is ever kept.

`effect`: shoppers nobody knows look at three products. Milliseconds from the call that sends the three events until a
shelf that was *popular now* is *for you*, and from their acknowledgement; asked again as soon as it is answered.

Profiles are kept in SQLite; with --redis, in that empty database, with a consumer beside it.
Writes shelf.json, shelf.md and shelf.png.
"""

import argparse
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console

from build.progress import progress
from build.shelf.interactions import read
from loadtests.lab.profiles import consumer
from loadtests.lab.shelf.effect import effects
from loadtests.lab.shelf.load import KINDS, measure
from loadtests.lab.shelf.report import draw, text
from loadtests.lab.shelf.shoppers import Shoppers, send
from loadtests.machine import machine
from loadtests.program import add_shop, amount, command_line, count, ending, flags
from loadtests.serving import embedded, queries_of, settings_of, sold
from shelfbridge.measure.report import Report


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command_line("lab.shelf", __doc__)
    add_shop(made)
    made.add_argument("--interactions", type=Path, required=True, help="what the release's shelf was built from")
    made.add_argument("--redis", help="address of an empty database for the profiles (default: SQLite)")
    made.add_argument("--clients", type=count, nargs="+", default=[1, 16], help="at a time (default: 1 16)")
    made.add_argument("--rounds", type=count, default=3, help="of which the median counts (default: %(default)s)")
    made.add_argument("--seconds", type=amount, default=8.0, help="of a load (default: %(default)s)")
    made.add_argument(
        "--strangers", type=count, default=100, help="whose first events are timed (default: %(default)s)"
    )
    return made


def main() -> None:
    """Measure and report."""
    made = parser()
    options = made.parse_args()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with ending("stopped; nothing was written"), ExitStack() as stack:
        catalogue = sold(options.release, options.catalogue)
        shoppers = Shoppers.of(read(options.interactions), {product.product_id for product in catalogue.products})
        stream = queries_of(options.release, options.catalogue, options.judgments)()
        options.out.mkdir(parents=True, exist_ok=True)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.out)))
        server = embedded(options.release, folder, **({"profiles": options.redis} if options.redis else {}))
        if options.redis:
            stack.enter_context(consumer(options.redis))
        stack.enter_context(server)
        bar = stack.enter_context(progress(console))
        sent = send(server.address, shoppers, bar)
        points = measure(
            server, shoppers, stream, clients=options.clients, rounds=options.rounds, seconds=options.seconds, bar=bar
        )
        seen = effects(server.address, shoppers, options.strangers, bar)
        record = {
            "machine": machine(),
            "flags": flags(made, options),
            "settings": settings_of(server) | {"profiles": "redis" if options.redis else "sqlite", "key_file": None},
            "events": sent,
            "shoppers": len(shoppers.users),
            "products": len(catalogue.products),
            "kinds": list(KINDS),
            "points": [asdict(point) for point in points],
            "effect": seen,
        }
        bar.stop()
        size = (5 * len(options.clients), 3.2)
        Report("shelf", record, [text(record)], partial(draw, record=record), size).write(options.out, quiet=False)


if __name__ == "__main__":
    main()
