"""Malformed and hostile requests at two sites, through the gateway and past it, while others search.

    python -m loadtests.fuzz --topology deploy/topologies/loadtest.toml --catalogue FILE --judgments FILE --out DIR
    python -m loadtests.fuzz … --again DIR/complaints.jsonl

Half of the requests go through the gateway, half to the private site's Triton with the gateway's certificate, as from
somebody who got into its network. They are bent true requests (values, shapes, types, lengths, bits), foreign methods
and headers, callers that go away, frames and bytes that are no HTTP/2, and tokens that open nothing. The same --seed
makes the same requests. Beside them others search; their answers must stay the same to the last bit.

Broken, and exit status 1: a process ended or was started anew; another's search failed or was answered otherwise; what
must be refused was answered; a site's private memory grew by more than {growth:g} MB; something restricted was counted
at the public site. What was answered wrongly is written to complaints.jsonl, to be sent again.
Writes fuzz.json, fuzz.md and fuzz.png.
"""

import argparse
import datetime
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from build.progress import progress
from deploy.hybrid import load
from deploy.security.certificates import make_certificates
from deploy.security.keys import write_new
from deploy.security.new_keys import make_keys
from deploy.security.tokens import make_token
from loadtests.fuzz import watch
from loadtests.fuzz.attack import Attack
from loadtests.fuzz.bystanders import Bystanders
from loadtests.fuzz.grammar import attacks
from loadtests.fuzz.report import draw, text
from loadtests.fuzz.send import OK, Sender
from loadtests.hybrid.cloud import Cloud
from loadtests.hybrid.traffic import RESTRICTED
from loadtests.machine import machine
from loadtests.program import command_line, count, ending, write
from loadtests.serving import queries_of

WORKERS = 8
LOOKS = 40
QUERIES = 20
HOUR = datetime.timedelta(hours=1)


def tokens(folder: Path, other: Path) -> dict[str, str | None]:
    """Good and bad ones by name."""
    everything: dict[str, Any] = {"subject": "fuzz", "roles": ("search", "recommend", "events", "admin")}
    good = make_token(folder / "token.key", residency="public-ok", expires=HOUR, **everything)
    head, body, signature = good.split(".")
    return {
        "good": good,
        "none": None,
        "expired": make_token(folder / "token.key", expires=-HOUR, **everything),
        "another key": make_token(other / "token.key", expires=HOUR, **everything),
        "unsigned": f"eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.",
        "no word": "x" * 30,
        "another audience": f"{head}.{body[:-4]}AAAA.{signature}",
        "search alone": make_token(folder / "token.key", subject="fuzz", roles=("search",), expires=HOUR),
    }


def fuzz(cloud: Cloud, sent: Sequence[Attack], queries: Sequence[str], secrets: Path, bar: Any) -> dict[str, Any]:
    """Attack a running cloud.

    Returns:
        The record, without the machine.
    """
    gateway, hybrid = cloud.use("hybrid"), cloud.hybrid
    write_new(secrets, {**make_certificates(), **make_keys()})
    sender = Sender(
        {"gateway": gateway.settings.port, "direct": cloud.topology.private.port},
        cloud.folder,
        tokens(cloud.folder, secrets),
    )
    servers = {"private": hybrid.private.pid, "public": hybrid.public.pid, "gateway": gateway.daemon.pid}
    pids, total = {name: pid for name, pid in servers.items() if pid}, len(sent)
    bystanders = Bystanders(sender, queries)
    for _ in range(3):
        bystanders.all("before")
    before, counted = watch.alive(pids), hybrid.public.requests()
    ends: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    slowest: dict[str, float] = defaultdict(float)
    looks, complaints, begun = [], [], time.monotonic()
    task = bar.add_task("attacking", total=total)
    with bystanders:
        for number, (attack, how, seconds) in enumerate(sender.send_all(sent, WORKERS)):
            ends[attack.category][attack.way][how] += 1
            slowest[attack.category] = max(slowest[attack.category], seconds)
            if how == OK and attack.refused:
                complaints.append(attack)
            if number % max(1, total // LOOKS) == 0:
                looks.append({"requests": number, "seconds": time.monotonic() - begun, "memory": watch.look(pids)})
            bar.advance(task)
    looks.append({"requests": total, "seconds": time.monotonic() - begun, "memory": watch.look(pids)})
    bystanders.all("afterwards")
    after = watch.alive(pids)
    sender.close()
    outside = hybrid.public.requests()
    return {
        "seconds": looks[-1]["seconds"],
        "requests": total,
        "ends": ends,
        "slowest_s": slowest,
        "answered_wrongly": complaints,
        "others": {name: _latency(took) for name, took in bystanders.latencies.items()},
        "others_wrong": bystanders.wrong,
        "looks": looks,
        "growth_mb": watch.growth(looks),
        "restarted": [name for name in pids if before[name] != after[name]],
        "restricted_outside": sum(outside.get(model, 0) - counted.get(model, 0) for model in RESTRICTED),
    }


def _latency(took: Sequence[float]) -> dict[str, float]:
    ordered = sorted(took)
    return {"count": len(ordered), "p50": ordered[len(ordered) // 2], "p99": ordered[int(0.99 * len(ordered))]}


def broken(record: dict[str, Any]) -> list[str]:
    """What is wrong, in words; nothing where all is well."""
    return [
        *(f"processes of {name} ended or were started anew" for name in record["restarted"]),
        *record["others_wrong"][:10],
        *(
            [f"{len(record['answered_wrongly'])} requests were answered that must be refused"]
            if record["answered_wrongly"]
            else []
        ),
        *(
            f"private memory of {name} grew by {grown:.1f} MB"
            for name, grown in record["growth_mb"].items()
            if grown > watch.GROWTH_MB
        ),
        *([f"{n} restricted requests at the public site"] if (n := record["restricted_outside"]) else []),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack and report."""
    parser = command_line("fuzz", (__doc__ or "").format(growth=watch.GROWTH_MB))
    parser.add_argument("--topology", type=Path, required=True, help="such as deploy/topologies/loadtest.toml")
    parser.add_argument("--catalogue", type=Path, required=True, help="what the release was built from")
    parser.add_argument("--judgments", type=Path, required=True, help="others search their queries")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--requests", type=count, default=10_000, help="hostile ones (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of the requests (default: %(default)s)")
    parser.add_argument("--again", type=Path, metavar="FILE", help="send the requests of a complaints.jsonl instead")
    options = parser.parse_args(arguments)
    with ending("stopped; nothing was written"):
        record = _run(options)
        record["broken"] = broken(record)
        wrong = record.pop("answered_wrongly")
        (options.out / "complaints.jsonl").write_text("".join(json.dumps(each.as_json()) + "\n" for each in wrong))
        write(options.out, "fuzz", record, text(record), lambda file: draw(file, record))
    return 1 if record["broken"] else 0


def _run(options: argparse.Namespace) -> dict[str, Any]:
    topology = load(options.topology)
    queries = queries_of(topology.private.release, options.catalogue, options.judgments)().pool[:QUERIES]
    options.out.mkdir(parents=True, exist_ok=True)
    sent = list(attacks(options.requests, options.seed))
    if options.again:
        sent = [Attack.of_json(json.loads(line)) for line in options.again.read_text().splitlines()]
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with (
        tempfile.TemporaryDirectory(dir=options.out) as folder,
        progress(console) as bar,
        Cloud(topology, Path(folder) / "security") as cloud,
    ):
        found = fuzz(cloud, sent, queries, Path(folder) / "others", bar)
    return {"machine": machine(), "seed": options.seed, **found}


if __name__ == "__main__":
    sys.exit(main())
