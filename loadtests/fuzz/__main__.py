"""Malformed and hostile requests at two sites, through the gateway and past it, while others search.

    python -m loadtests.fuzz --topology deploy/topologies/loadtest.toml --catalogue FILE --judgments FILE --out DIR
    python -m loadtests.fuzz … --again DIR/complaints.jsonl

Half of the requests go through the gateway, half to the private site's Triton with the gateway's certificate, as from
somebody who got into its network. They are bent true requests of every model (values, shapes, types, lengths, bits,
fields of protobuf), gRPC messages that lie or are compressed, foreign methods and headers, callers that go away, frames
and bytes that are no HTTP/2, and tokens that open nothing. The same --seed makes the same requests. Beside them others
search; their answers must stay the same to the last bit.

Triton before 2.59 (25.06) may crash on a call that is given up while its answer is made (server issues 7368, 8034), so
those calls are left out there, and the report says so; --given-up sends them all the same. A site that dies is started
again by its keeper; the report says how often, how soon it was back, and what others saw of it.

Broken, and exit status 1: a process ended; another's search failed or was answered otherwise; what must be refused was
answered; a site's private memory grew by more than {growth:g} MB; something restricted was counted at the public site.
What was answered wrongly, or may have ended a process, is written to complaints.jsonl, to be sent again.
Writes fuzz.json, fuzz.md and fuzz.png.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from build.progress import progress
from deploy.hybrid import load
from deploy.security.certificates import make_certificates
from deploy.security.keys import write_new
from deploy.security.new_keys import make_keys
from loadtests.fuzz.attack import Attack, Way
from loadtests.fuzz.calls import attacks
from loadtests.fuzz.others import Others
from loadtests.fuzz.report import apart, broken, draw, text
from loadtests.fuzz.send import AHEAD, OK, Sender, triton_version
from loadtests.fuzz.tokens import tokens
from loadtests.fuzz.watch import GROWTH_MB, LOOK_S, Lives, Watched, growth
from loadtests.hybrid.cloud import Cloud
from loadtests.machine import machine
from loadtests.program import command_line, count, ending
from loadtests.serving import queries_of
from loadtests.timing import meanwhile, percentiles
from shelfbridge.client import TLS, SearchClient
from shelfbridge.errors import DataError
from shelfbridge.measure.report import Report

WORKERS = 8
LOOKS = 40
QUERIES = 20
OTHERS_TIMEOUT_S = 10.0
SURVIVES_GIVEN_UP = (2, 59)
"""Triton from this version on: with its changes 7840, 8078 and 8220."""


def fuzz(cloud: Cloud, sent: Sequence[Attack], queries: Sequence[str], secrets: Path, bar: Any) -> dict[str, Any]:
    """Attack a running cloud, until all is sent or a site has died and does not come back.

    Args:
        cloud: its sites run.
        sent: in this order, `WORKERS` at a time.
        queries: of the others.
        secrets: folder to make, of keys that the gateway does not know.
        bar: of progress.

    Returns:
        The record, without the machine.
    """
    gateway, hybrid = cloud.use("hybrid"), cloud.hybrid
    write_new(secrets, {**make_certificates(), **make_keys()})
    given = tokens(cloud.folder, secrets)
    ports: dict[Way, int] = {"gateway": gateway.settings.port, "direct": cloud.topology.private.port}
    ends: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    slowest: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    every = max(1, len(sent) // LOOKS)
    complaints: list[Attack] = []
    suspects: list[Attack] = []
    latest: deque[Attack] = deque(maxlen=every + AHEAD * WORKERS)
    ca, own = cloud.folder / "ca.crt", (cloud.folder / "gateway.crt", cloud.folder / "gateway.key")
    shown: dict[Way, tuple[TLS, str | None]] = {"gateway": (TLS(ca), given["good"]), "direct": (TLS(ca, *own), None)}
    with ExitStack() as stack:
        lives = Lives((hybrid.private, hybrid.public))
        stack.enter_context(meanwhile(lives.look, pause=LOOK_S))
        sender = stack.enter_context(Sender(ports, cloud.folder, given))
        clients = {
            way: stack.enter_context(
                SearchClient(f"localhost:{ports[way]}", tls=tls, token=token, timeout=OTHERS_TIMEOUT_S, retries=0)
            )
            for way, (tls, token) in shown.items()
        }
        others = Others(clients, queries)
        for _ in range(3):
            others.all("before")
        watched, begun = Watched(cloud), time.time()
        task = bar.add_task("attacking", total=len(sent))
        with others.searching():
            for number, (attack, how, seconds) in enumerate(sender.send_all(sent, WORKERS)):
                ends[attack.category][attack.way][how] += 1
                slowest[attack.category][attack.way] = max(slowest[attack.category][attack.way], seconds)
                latest.append(attack)
                if how == OK and attack.way in attack.refused:
                    complaints.append(attack)
                if number % every == 0 or number == len(sent) - 1:
                    if watched.look(number + 1, time.time() - begun):
                        suspects += latest  # one of these ended it
                    if lives.lost:
                        break
                bar.advance(task)
            lives.wait()
        others.all("afterwards")
        watched.look(number + 1, time.time() - begun)
    wrong, missed = apart(others.wrong, lives.deaths)
    return {
        "seconds": watched.looks[-2]["seconds"],
        "requests": number + 1,
        "ends": ends,
        "slowest_s": slowest,
        "complaints": complaints,
        "suspects": suspects,
        "others": {name: {"count": len(took), **percentiles(took, 50, 99)} for name, took in others.latencies.items()},
        "others_wrong": [each.words for each in wrong],
        "looks": watched.looks,
        "growth_mb": growth(watched.looks),
        "deaths": [
            {"site": death.site, "second": death.at - begun, "away_s": death.back and death.back - death.at}
            for death in lives.deaths
        ],
        "missed": missed,
        "processes_ended": sorted(watched.ended),
        "restricted_outside": watched.restricted_outside,
    }


def read(file: Path) -> list[Attack]:
    """The requests of a complaints.jsonl.

    Raises:
        DataError: it cannot be read, or holds none.
    """
    try:
        found = [Attack.model_validate_json(line) for line in file.read_text().splitlines()]
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}; give --again the complaints.jsonl of a run") from error
    except ValueError as error:
        raise DataError(f"{file} holds other lines than a complaints.jsonl; give --again one") from error
    if not found:
        raise DataError(f"{file} holds no request: nothing was wrong in that run")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack and report."""
    parser = command_line("fuzz", (__doc__ or "").format(growth=GROWTH_MB))
    parser.add_argument("--topology", type=Path, required=True, help="such as deploy/topologies/loadtest.toml")
    parser.add_argument("--catalogue", type=Path, required=True, help="what the release was built from")
    parser.add_argument("--judgments", type=Path, required=True, help="others search their queries")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--requests", type=count, default=10_000, help="hostile ones (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of the requests (default: %(default)s)")
    parser.add_argument(
        "--given-up", action="store_true", help="calls given up, too, at a Triton that may crash of them"
    )
    parser.add_argument("--again", type=Path, metavar="FILE", help="send the requests of a complaints.jsonl instead")
    options = parser.parse_args(arguments)
    with ending("nothing was written"):
        record = _run(options)
        record["broken"] = broken(record)
        wrong = [*record.pop("complaints"), *record.pop("suspects")]
        (options.out / "complaints.jsonl").write_text("".join(f"{each.model_dump_json()}\n" for each in wrong))
        Report("fuzz", record, [text(record)], partial(draw, record=record), (13, 5)).write(options.out, quiet=False)
    return 1 if record["broken"] else 0


def _run(options: argparse.Namespace) -> dict[str, Any]:
    again = read(options.again) if options.again else []
    topology = load(options.topology)
    queries = queries_of(topology.private.release, options.catalogue, options.judgments)().pool[:QUERIES]
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with (
        tempfile.TemporaryDirectory(dir=options.out) as folder,
        progress(console) as bar,
        Cloud(topology, Path(folder) / "security") as cloud,
    ):
        version = triton_version(topology.private.port, cloud.folder)
        given_up = bool(again) or options.given_up or version >= SURVIVES_GIVEN_UP
        sent = again or list(attacks(options.requests, options.seed, given_up=given_up))
        found = fuzz(cloud, sent, queries, Path(folder) / "others", bar)
    return {
        "machine": machine(),
        "triton": ".".join(map(str, version)),
        "seed": options.seed,
        "given_up": given_up,
        **found,
    }


if __name__ == "__main__":
    sys.exit(main())
