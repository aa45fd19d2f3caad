"""Searches and shelves under load, by turns."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from rich.progress import Progress

from deploy.embedded import EmbeddedServer
from loadtests.lab.shelf.shoppers import Shoppers
from loadtests.load import Load, Sample
from loadtests.queries import QueryStream
from loadtests.serving import closed, generate, most

KINDS: dict[str, dict[str, Any]] = {
    "search": {"kind": "shelfbridge", "deep": False},
    "search_personal": {"kind": "personal"},
    "for you": {"kind": "shelf", "shelf": "for_you"},
    "goes with": {"kind": "shelf", "shelf": "goes_with"},
}
"""What is asked, and how its caller is described."""
SEED = 7


@dataclass(frozen=True)
class Point:
    """One kind under one load: medians of the rounds, milliseconds but for `per_s` and `errors`."""

    kind: str
    clients: int
    p50: float
    p99: float
    per_s: float
    cpu: float
    """Of the server, per answer."""
    answers: int
    errors: int


def measure(
    server: EmbeddedServer,
    shoppers: Shoppers,
    stream: QueryStream,
    *,
    clients: Sequence[int],
    rounds: int,
    seconds: float,
    bar: Progress,
) -> list[Point]:
    """Every kind under every load, round by round.

    Raises:
        LoadFailed: the server died, or gave no answer.
    """
    chance = random.Random(SEED)
    kinds = [(kind, number) for number in clients for kind in KINDS]
    samples: dict[tuple[str, int], list[Sample]] = {one: [] for one in kinds}
    task = bar.add_task("measuring", total=rounds * len(kinds))
    for _ in range(rounds):
        for kind, number in kinds:
            load = closed(server, number, seconds)
            load = replace(load, caller={**KINDS[kind], "address": server.address})
            samples[kind, number].append(_put(load, _asked(kind, shoppers, stream, chance), most(seconds), stream))
            bar.advance(task)
    return [point(kind, number, taken) for (kind, number), taken in samples.items()]


def _asked(kind: str, shoppers: Shoppers, stream: QueryStream, chance: random.Random) -> Callable[[int], list[str]]:
    """What makes so many queries of a kind."""
    if kind == "search":
        return stream.up_to
    if kind == "search_personal":
        return lambda count: [f"{chance.choice(shoppers.users)}\t{query}" for query in stream.up_to(count)]
    named = shoppers.products if kind == "goes with" else shoppers.users
    return lambda count: chance.choices(named, k=count)


def _put(load: Load, asked: Callable[[int], list[str]], count: int, stream: QueryStream) -> Sample:
    queries = asked(count)
    sample = generate(replace(load, queries=queries))
    if load.caller["kind"] != "shelf":
        stream.give_back([query.rpartition("\t")[2] for query in queries[sample.asked :]])
    return sample


def point(kind: str, clients: int, samples: Sequence[Sample]) -> Point:
    """What the rounds of one kind under one load come to."""

    def middle(of: Callable[[Sample], float]) -> float:
        return round(median(map(of, samples)), 3)

    return Point(
        kind=kind,
        clients=clients,
        p50=middle(lambda one: one.percentile(50)),
        p99=middle(lambda one: one.percentile(99)),
        per_s=middle(lambda one: len(one.latencies_ms) / one.seconds),
        cpu=middle(lambda one: one.server_cpu_s / len(one.latencies_ms) * 1e3),
        answers=sum(len(one.latencies_ms) for one in samples),
        errors=sum(one.failed for one in samples),
    )
