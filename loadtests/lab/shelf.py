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
import random
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress

from build.progress import progress
from build.shelf.interactions import Interactions, read
from deploy.embedded import EmbeddedServer
from loadtests.lab.profiles import consumer
from loadtests.load import Sample
from loadtests.machine import machine
from loadtests.program import add_shop, amount, command_line, count, ending, flags
from loadtests.queries import QueryStream
from loadtests.serving import closed, embedded, generate, most, queries_of, settings_of, sold
from loadtests.timing import percentiles
from shelfbridge.client import ShopperClient
from shelfbridge.errors import DataError, StoreUnavailable
from shelfbridge.measure.report import Report, Table, markdown
from shelfbridge.profiles import Event
from shelfbridge.profiles.events import MAX_ROWS

KINDS: Mapping[str, Mapping[str, Any]] = {
    "search": {"kind": "shelfbridge", "deep": False},
    "search_personal": {"kind": "personal"},
    "for you": {"kind": "shelf", "shelf": "for_you"},
    "goes with": {"kind": "shelf", "shelf": "goes_with"},
}
"""What is asked, and how its caller is described."""
LATEST = 30_000
"""Most events that are sent, the latest."""
PATIENCE = 10.0
"""Seconds that an effect is waited for."""
SEED = 7
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Shoppers:
    """Who is known, what they did, and what is sold."""

    users: tuple[str, ...]
    events: tuple[Event, ...]
    """Purchases, the last of them now."""
    products: tuple[str, ...]
    """That were bought, in the order of their ids."""

    @classmethod
    def of(cls, interactions: Interactions, sold: set[str]) -> "Shoppers":
        """The latest purchases of what is sold.

        Raises:
            DataError: none is.
        """
        shift = time.time() - float(interactions.time[-1]) - 1
        events = tuple(
            Event(
                event_id=f"load-{row}",
                user=interactions.users[interactions.user[row]],
                kind="buy",
                product_id=product,
                time=float(interactions.time[row]) + shift,
            )
            for row in range(max(0, len(interactions) - LATEST), len(interactions))
            if (product := interactions.items[interactions.item[row]]) in sold
        )
        if not events:
            raise DataError("no product of the interactions is sold; give those that the release was built from")
        users = tuple(sorted({event.user for event in events}))
        return cls(users, events, tuple(sorted({event.product_id for event in events})))


def send(address: str, shoppers: Shoppers, bar: Progress) -> int:
    """Send all events to a server, and return how many it took."""
    starts = range(0, len(shoppers.events), MAX_ROWS)
    with ShopperClient(address, timeout=30.0) as client:
        return sum(
            client.send(shoppers.events[start : start + MAX_ROWS]).accepted
            for start in bar.track(starts, description="sending events")
        )


def loads(
    server: EmbeddedServer, shoppers: Shoppers, stream: QueryStream, options: argparse.Namespace, bar: Progress
) -> list[dict[str, Any]]:
    """Every kind under every load, round by round.

    Raises:
        LoadFailed: the server died, or gave no answer.
    """
    chance = random.Random(SEED)
    kinds = [(kind, clients) for clients in options.clients for kind in KINDS]
    samples: dict[tuple[str, int], list[Sample]] = {one: [] for one in kinds}
    asked = most(options.seconds)
    for kind, clients in bar.track(kinds * options.rounds, description="measuring"):
        load = replace(closed(server, clients, options.seconds), caller={**KINDS[kind], "address": server.address})
        if load.caller["kind"] == "shelf":
            named = shoppers.products if kind == "goes with" else shoppers.users
            sample = generate(replace(load, queries=chance.choices(named, k=asked)))
        else:
            texts = stream.up_to(asked)
            personal = [f"{chance.choice(shoppers.users)}\t{text}" for text in texts]
            sample = generate(replace(load, queries=personal if kind == "search_personal" else texts))
            stream.give_back(texts[sample.asked :])
        samples[kind, clients].append(sample)
    return [point(kind, clients, taken) for (kind, clients), taken in samples.items()]


def point(kind: str, clients: int, samples: list[Sample]) -> dict[str, Any]:
    """One kind under one load: medians of the rounds, milliseconds but for `per_s` and `errors`; `cpu` per answer."""
    return {
        "kind": kind,
        "clients": clients,
        "p50": median(one.percentile(50) for one in samples),
        "p99": median(one.percentile(99) for one in samples),
        "per_s": median(len(one.latencies_ms) / one.seconds for one in samples),
        "cpu": median(one.server_cpu_s / len(one.latencies_ms) * 1e3 for one in samples),
        "answers": sum(len(one.latencies_ms) for one in samples),
        "errors": sum(one.failed for one in samples),
    }


def effects(address: str, shoppers: Shoppers, strangers: int, bar: Progress) -> dict[str, Any]:
    """Milliseconds until three events of a stranger show, from their sending and from their acknowledgement.

    Raises:
        StoreUnavailable: they do not show.
    """
    from_call, from_acknowledged, changed = [], [], []
    chance = random.Random(SEED)
    with ShopperClient(address, timeout=10.0) as client:
        for _ in bar.track(range(strangers), description="events to effect"):
            user = f"stranger-{uuid4().hex}"
            before = {hit.product_id for hit in client.recommend(user=user, with_payload=False).hits}
            seen = [
                Event(event_id=uuid4().hex, user=user, kind="view", product_id=product, time=time.time())
                for product in chance.sample(shoppers.products, 3)
            ]
            begun = time.perf_counter()
            client.send(seen)
            acknowledged = time.perf_counter()
            while (shelf := client.recommend(user=user, with_payload=False)).shown != "for_you":
                if time.perf_counter() - begun > PATIENCE:
                    raise StoreUnavailable(f"events do not show within {PATIENCE:g} s; see whether a consumer runs")
            ended = time.perf_counter()
            from_call.append((ended - begun) * 1e3)
            from_acknowledged.append((ended - acknowledged) * 1e3)
            changed.append(len({hit.product_id for hit in shelf.hits} - before))
            client.forget(user)
    return {
        "strangers": strangers,
        "from_call": percentiles(from_call),
        "from_acknowledged": percentiles(from_acknowledged),
        "slowest": max(from_call),
        "new_products": sum(changed) / strangers,
    }


def text(record: Record) -> str:
    """Markdown."""
    points, effect = record["points"], record["effect"]
    clients = list(dict.fromkeys(point["clients"] for point in points))
    figures = {"p50 ms": "p50", "p99 ms": "p99", "per s": "per_s", "CPU ms": "cpu"}
    columns = {"": "{kind}"} | {
        f"{head}, {number}": f"{{at_{number}[{figure}]:.3g}}" for head, figure in figures.items() for number in clients
    }
    rows = [
        {"kind": kind, **{f"at_{point['clients']}": point for point in points if point["kind"] == kind}}
        for kind in record["kinds"]
    ]
    about = (
        f"{record['products']:,} products, {record['shoppers']:,} shoppers with {record['events']:,} events in "
        f"{record['settings']['profiles']}; {record['machine']['cores']} cores of {record['machine']['processor']}. "
        f"{sum(point['answers'] for point in points):,} answers, {sum(point['errors'] for point in points):,} failed."
    )
    shows = (
        f"An event shows after {effect['from_call']['p50']:.1f} ms (p99 {effect['from_call']['p99']:.1f}, slowest "
        f"{effect['slowest']:.1f}) from the call that sends it, {effect['from_acknowledged']['p50']:.1f} ms from its "
        f"acknowledgement: {effect['strangers']} strangers, {effect['new_products']:.1f} of 10 products are others."
    )
    return markdown([about, Table.of(columns, rows), shows])


def draw(figure: Figure, record: Record) -> None:
    """p50 and p99 by kind, one part for each number of clients."""
    clients = list(dict.fromkeys(point["clients"] for point in record["points"]))
    parts = figure.subplots(1, len(clients), squeeze=False)
    for part, number in zip(parts[0], clients, strict=True):
        points = [point for point in record["points"] if point["clients"] == number]
        names = [point["kind"] for point in points]
        part.barh(names, [point["p99"] for point in points], color="#c6dbef", label="p99")
        part.barh(names, [point["p50"] for point in points], color="#3182bd", label="p50")
        part.invert_yaxis()
        part.set_title(f"{number} client{'s' if number > 1 else ''}")
        part.set_xlabel("milliseconds")
        part.legend(frameon=False)


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
    with ending("nothing was written"), ExitStack() as stack:
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
        points = loads(server, shoppers, stream, options, bar)
        seen = effects(server.address, shoppers, options.strangers, bar)
        record = {
            "machine": machine(),
            "flags": flags(made, options),
            "settings": settings_of(server) | {"profiles": "redis" if options.redis else "sqlite", "key_file": None},
            "events": sent,
            "shoppers": len(shoppers.users),
            "products": len(catalogue.products),
            "kinds": list(KINDS),
            "points": points,
            "effect": seen,
        }
        bar.stop()
        size = (5 * len(options.clients), 3.2)
        Report("shelf", record, [text(record)], partial(draw, record=record), size).write(options.out, quiet=False)


if __name__ == "__main__":
    main()
