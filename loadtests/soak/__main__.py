"""Whether a served release keeps its memory flat: many searches of every kind at a steady load, and a verdict.

    python -m loadtests.soak --release out/releases/current --catalogue F --judgments F --out DIR --searches 100000

Queries do not repeat, so what is kept per query is seen to grow; some have filters, payloads, long texts or other
scripts, and one in twenty is malformed: what the server must refuse it must forget too. Every few seconds the memory of
each process of the server (PSS and private dirty pages), its file descriptors and threads, and its regions in /dev/shm
are noted. The first fifth is left out, as pools and caches fill. To the rest a line is fitted over the number of
searches, as to what grows by searches and not by time.

The verdict is "flat" (exit status 0) if private memory grows by less than the limit with 95 % confidence, /dev/shm,
descriptors and threads do not grow at all, and each search ended as it should; else the exit status is 1. A server that
dies ends the run, and is a complaint of the report.

The default limit is 32 MB for 100,000 searches: 0.3 kB a search. Whatever keeps a query, an answer or a tensor keeps
more than that; what lies below is allocators that settle, which a run of this length cannot tell from a leak.

Writes soak.json, soak.md and soak.png.
"""

import argparse
import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import Progress

from build.progress import progress
from deploy.embedded import EmbeddedServer
from loadtests.machine import machine
from loadtests.program import add_shop, amount, command_line, count, ending
from loadtests.queries import QueryStream
from loadtests.serving import LoadFailed, embedded, pid_of, queries_of, settings_of
from loadtests.soak import report
from loadtests.soak.requests import Request, Sender, requests
from loadtests.soak.verdict import LIMIT_MB, Look, judge, look
from shelfbridge.errors import DataError
from shelfbridge.measure.report import Report

LOOKS = 250
"""At the server's processes during a run, evenly spaced over its searches."""
FEWEST = 2000
"""Searches of a run: fewer show no trend."""


async def soaked(
    server: EmbeddedServer, asked: Iterator[Request], options: argparse.Namespace, bar: Progress
) -> tuple[list[Look], dict[str, int]]:
    """The looks of a run, and its searches that ended otherwise than they should, counted by kind and end.

    It ends early where the server does.
    """
    pid, every = pid_of(server), max(1, options.searches // LOOKS)
    looks = [look(pid, server.settings.run_dir, 0)]
    wrong: dict[str, int] = {}
    task, done, alive = bar.add_task("soaking", total=options.searches), 0, True

    async def client(sender: Sender) -> None:
        nonlocal done, alive
        for request in asked:
            if not alive:
                return
            ended = await sender.send(request)
            if ended != request.ending:
                what = f"{request.kind}: {ended} instead of {request.ending}"
                wrong[what] = wrong.get(what, 0) + 1
            done += 1
            bar.advance(task)
            if done % every == 0:
                seen = await asyncio.to_thread(look, pid, server.settings.run_dir, done)
                alive = bool(seen.pss)
                looks.extend([seen] if alive else [])

    async with Sender(server.address, options.deep) as sender:
        await asyncio.gather(*(client(sender) for _ in range(options.clients)))
    return sorted(looks, key=lambda one: one.searches), wrong


def measure(options: argparse.Namespace, stream: QueryStream, console: Console) -> dict[str, Any]:
    """The record of a soak, its verdict included.

    Raises:
        ShelfbridgeError: the server did not start, or the queries are too few.
    """
    asked = requests(stream.cold(options.searches))
    settings = {} if options.steps is None else {"steps": options.steps}
    server, died = embedded(options.release, options.out / "server", **settings), ""
    try:
        with console.status("starting the server"):
            server.up()
        with progress(console) as bar:
            looks, wrong = asyncio.run(soaked(server, asked, options, bar))
        try:
            pid_of(server)
        except LoadFailed as error:
            died = f"{error}, after {looks[-1].searches:,} searches or more"
    finally:
        server.down()
    return {
        "machine": machine(),
        "server": settings_of(server),
        "searches": options.searches,
        "clients": options.clients,
        "deep": options.deep,
        "limit_mb": options.limit,
        "wrong": wrong,
        "verdict": asdict(judge(looks, wrong, options.limit, died)),
        "looks": [asdict(one) for one in looks],
    }


def main() -> None:
    """The command line."""
    parser = command_line("soak", __doc__)
    add_shop(parser)
    parser.add_argument("--searches", type=count, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--clients", type=count, default=8, help="at a time (default: %(default)s)")
    parser.add_argument("--deep", action="store_true", help="by search_deep: the cross-encoder too")
    parser.add_argument("--steps", choices=("together", "apart"), help="how to serve (default: as the server does)")
    parser.add_argument(
        "--limit", type=amount, default=LIMIT_MB, help="MB of growth for 100,000 searches (default: %(default)s)"
    )
    options = parser.parse_args()
    with ending("nothing was written"):
        if options.searches < FEWEST:
            raise DataError(f"{options.searches} searches show no trend; ask for {FEWEST} or more")
        stream = queries_of(options.release, options.catalogue, options.judgments)()
        record = measure(options, stream, Console())
        drawn = partial(report.draw, record=record)
        Report("soak", record, [report.table(record)], drawn, (12, 4.2)).write(options.out, quiet=False)
    raise SystemExit(0 if record["verdict"]["flat"] else 1)


if __name__ == "__main__":
    main()
