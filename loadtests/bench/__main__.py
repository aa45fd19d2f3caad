"""Shelfbridge beside what a shop would otherwise run: the same catalogue, queries, machine and run.

    python -m loadtests.bench --release out/releases/current --catalogue F --judgments F --out DIR [--warm] [--quick]

`bm25` is plain BM25 (tantivy), without any network; `control` is our own index and networks in one process of FastAPI,
which tells what Triton adds or costs. The other peers serve the fp32 networks that the release was compressed from:
embed the query, search exactly in FAISS, and have the cross-encoder read the first 50 products (--candidates), up to 45
words of each. `infinity` serves the models and the caller searches, `sentence-transformers` is a FastAPI service,
`litserve` one of onnxruntime, and `litserve-int8` the same with dynamic int8. Each is installed into an environment of
its own, once. Ratios are told only of contenders that rank no worse than `search`, within the interval.

All servers are up, one at a time is under load and the peers among the others are stopped. Rounds alternate between
them at every step: closed loops of some clients, then open loops at fixed rates (where the server can keep up).
No query comes twice to a server: the judged ones are varied by one more word of the catalogue. `--warm` adds a row for
Shelfbridge under a Zipf load, whose queries come again. An answer is ten ids with their scores. A run that is stopped
reports what it has measured.
"""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from deploy.embedded import EmbeddedServer, EmbeddedSettings
from loadtests.bench import rounds
from loadtests.bench.contenders import CANDIDATES, PEERS, ours, peer
from loadtests.bench.environments import pins
from loadtests.bench.report import blocks, closed_loops, draw, ratios, relevance
from loadtests.bench.rounds import Course, Plan
from loadtests.bench.servers import Contender
from loadtests.bench.weights import PAIR_TOKENS, WORDS, originals, write_shop
from loadtests.machine import machine
from loadtests.program import add_shop, amount, command_line, count, ending, flags
from loadtests.queries import QueryStream, words_of
from loadtests.serving import settings_of, sold
from shelfbridge import contract
from shelfbridge.catalogue import read_judgments
from shelfbridge.errors import DataError, ShelfbridgeError
from shelfbridge.measure.ranking import NDCG, by_place, per_query
from shelfbridge.measure.report import Report
from shelfbridge.release import read_manifest

QUICK = Plan(rounds=1, rates=(), fractions=(0.5,), seconds=5.0, searches=1000)
PORTS = 3
"""Of Triton; the peers' come after them."""


def main() -> None:
    """The command line."""
    options = parser().parse_args()
    with ending("nothing was measured yet, and all servers are down"):
        record = bench(options, Console())
        drawn = partial(draw, record=record)
        Report("bench", record, blocks(record), drawn, (12, 4.5)).write(options.out, quiet=False)


def parser() -> argparse.ArgumentParser:
    """The options."""
    full = Plan()
    found = command_line("bench", __doc__)
    add_shop(found)
    found.add_argument("--split", choices=("train", "dev", "test"), default="dev", help="judged queries (%(default)s)")
    found.add_argument("--stages", type=Path, help="stage results of its build (default: ../../stages of the release)")
    found.add_argument("--work", type=Path, help="environments, weights and logs of the peers (peers, beside --out)")
    found.add_argument("--peers", type=_peers, default=",".join(PEERS), help=f"some of {','.join(PEERS)} (all)")
    found.add_argument("--candidates", type=count, default=CANDIDATES, help="products that they read (%(default)s)")
    found.add_argument("--warm", action="store_true", help="also Shelfbridge under a Zipf load")
    found.add_argument("--quick", action="store_true", help="one short round, about 6 minutes")
    found.add_argument("--rounds", type=count, help=f"({full.rounds})")
    found.add_argument("--seconds", type=amount, help=f"window of a point ({full.seconds:g})")
    found.add_argument("--searches", type=count, help=f"a closed loop ends earlier after so many ({full.searches})")
    found.add_argument("--clients", type=count, nargs="+", help="of the closed loops (1 4 16)")
    found.add_argument("--rates", type=amount, nargs="*", help="searches/s of the open loops (1 10 100)")
    found.add_argument("--fractions", type=amount, nargs="*", help="the same, of what each can do (0.5 0.8)")
    found.add_argument("--port", type=count, default=8300, help="the first of %(default)s and those after it")
    return found


def plan_of(options: argparse.Namespace) -> Plan:
    """The full or the quick plan with what the command line changes of it."""
    base = asdict(QUICK if options.quick else Plan())
    for name in base:
        given = getattr(options, name, None)
        if given is not None:
            base[name] = tuple(given) if isinstance(given, list) else given
    return Plan(**base)


def bench(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Measure, and return the record.

    Raises:
        ShelfbridgeError: Shelfbridge's own files or server cannot be used; a peer that fails is left out.
    """
    release = options.release.resolve()
    stages = options.stages or release.parent.parent / "stages"
    work = options.work or options.out.parent / "peers"
    catalogue = sold(release, options.catalogue)
    judgments = read_judgments(options.judgments, catalogue)
    chosen = judgments.of(options.split)
    if not chosen.rows:
        raise DataError(f"no judgment in split {options.split!r}; choose another or add judged queries to it")
    texts, words = list(judgments.queries.values()), words_of(catalogue)
    shop = write_shop(work, release, stages, catalogue, console).absolute() if options.peers else Path()
    course = Course([], lambda: QueryStream(texts, words), plan_of(options), console)
    grpc, http, metrics = range(options.port, options.port + PORTS)
    server = EmbeddedServer(
        EmbeddedSettings(
            repository=release, run_dir=options.out / "server", grpc_port=grpc, http_port=http, metrics_port=metrics
        )
    )
    stopped = False
    with ExitStack() as running:
        start(course, running, ours(server, options.warm))
        for port, name in enumerate(filter(None, options.peers.split(",")), options.port + PORTS):
            try:
                one = peer(
                    name,
                    release=release,
                    shop=shop,
                    work=work,
                    port=port,
                    candidates=options.candidates,
                    console=console,
                )
                with console.status(f"{name}: starting"):
                    start(course, running, [one])
            except ShelfbridgeError as error:
                course.refused[name] = str(error)
                console.print(f"{name}: {error}", style="yellow", highlight=False, markup=False)
        idle = rounds.idle(course.contenders)
        for one in course.contenders:
            one.server.hold()
        runs = {
            name: {qid: by_place(ids) for qid, ids in zip(chosen.queries, answers, strict=True)}
            for name, answers in course.answers(list(chosen.queries.values())).items()
        }
        try:
            course.measure()
        except KeyboardInterrupt:
            if not course.points:
                raise
            stopped = True
    judged = per_query(runs, chosen)
    return {
        "machine": machine(),
        "flags": flags(parser(), options),
        "plan": asdict(course.plan),
        "stopped": stopped,
        "products": len(catalogue.products),
        "split": options.split,
        "judged": len(chosen.queries),
        "release": _made(release, stages),
        "server": settings_of(server),
        "reads": reads(release, options.candidates),
        "versions": {one.name: pins(one.environment) for one in course.contenders if one.environment},
        "idle_cores": idle,
        "relevance": relevance({name: row[NDCG] for name, row in judged.items()}),
        "closed": closed_loops(course.points),
        "ratios": ratios(course.points),
        "refused": course.refused,
        "points": course.points,
    }


def start(course: Course, running: ExitStack, some: Sequence[Contender]) -> None:
    """Start the server of some contenders, and end it when all is done."""
    running.callback(some[0].server.down)
    some[0].server.up()
    course.contenders += some


def _made(release: Path, stages: Path) -> dict[str, Any]:
    manifest = read_manifest(release)
    networks = {name: f"{path.parent.name}/{path.name}" for name, path in originals(release, stages).items()}
    return {"number": manifest["release"], "tools": manifest["tools"], "peers_networks": networks}


def reads(release: Path, candidates: int) -> dict[str, dict[str, Any]]:
    """What the cross-encoders read: products of a search, word pieces of a query and a product, by which network."""
    served = read_manifest(release)["made_from"]["cross_encoder"].partition("/")[0]
    return {
        "peers": {"products": candidates, "pieces": PAIR_TOKENS, "words": WORDS, "network": "the full fp32 network"},
        "search_deep": {"products": contract.SHORTLIST, "pieces": contract.PAIR_TOKENS, "network": served},
    }


def _peers(text: str) -> str:
    if unknown := set(filter(None, text.split(","))) - set(PEERS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not among {', '.join(PEERS)}")
    return text


if __name__ == "__main__":
    main()
