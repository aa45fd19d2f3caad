"""One run: a scenario on a running cloud, used in one of its ways."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy import ROOT
from deploy.gateway.config import AUDIT_LOG
from loadtests.hybrid import joined, rows
from loadtests.hybrid.cloud import Cloud, Mode
from loadtests.hybrid.faults import Failing, Failure
from loadtests.hybrid.load import Load
from loadtests.hybrid.measured import Seen, measured
from loadtests.hybrid.scenarios import Scenario
from loadtests.hybrid.traffic import Kind
from loadtests.machine import machine
from loadtests.serving import LoadFailed
from shelfbridge.contract import MODELS

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
STARTING_S = 30.0
"""Longest that Locust may take to begin."""
LOG_S = 1.0
"""How long the gateway's lines may lag behind."""


@dataclass(frozen=True)
class Plan:
    """What to run, and how."""

    scenario: Scenario
    mode: Mode
    shop: Path
    folder: Path
    mix: Mapping[Kind, float]
    think: float
    workers: int
    seed: int

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.scenario.name} {self.mode}"


@dataclass(frozen=True)
class Driven:
    """A load that was put on a cloud."""

    file: Path
    """The load generator's rows."""
    lines: Mapping[str, joined.Line]
    """The gateway's, by request id."""
    failure: Failure | None
    counted: dict[str, dict[str, int]]
    """Requests by site and model, by the sites' own counters."""
    occupied_ms: dict[str, dict[str, float]]
    """Mean time for which a request occupied a process, by site and model; empty where a site failed."""

    def answers(self) -> tuple[float, Iterator[joined.Answer]]:
        """When it began, and every request."""
        start, found = rows.read(self.file)
        return start, joined.join(found, self.lines)


def drive(cloud: Cloud, plan: Plan, tell: Callable[[float], object]) -> Driven:
    """Put a plan's load on a cloud.

    Args:
        cloud: running; its gateway is taken up anew.
        plan: what to do.
        tell: called now and then with the seconds that the load has gone on.

    Raises:
        LoadFailed: Locust could not begin, or ended before its time.
        ShelfbridgeError: a site could not be started again.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    gateway = cloud.use(plan.mode)
    log = gateway.settings.run_dir / AUDIT_LOG
    offset = log.stat().st_size if log.exists() else 0
    sites = (cloud.hybrid.private, cloud.hybrid.public)
    before = {site.name: (site.requests(), site.computed()) for site in sites}
    load = Load(
        address=f"localhost:{gateway.settings.port}",
        root=cloud.folder / "ca.crt",
        token_file=cloud.token(plan.mode),
        shop=plan.shop,
        mix=dict(plan.mix),
        think=plan.think,
        stages=plan.scenario.stages,
        rows=plan.folder / "rows.jsonl",
        seed=plan.seed,
    )
    failure = _locust(cloud, plan, load, tell)
    time.sleep(LOG_S)
    failed = {failure.site: failure} if failure else {}
    return Driven(
        load.rows,
        joined.lines(log, offset),
        failure,
        {site.name: _since(site.requests(), before[site.name][0], failed.get(site.name)) for site in sites},
        {} if failure else {site.name: _occupied(site.computed(), before[site.name][1]) for site in sites},
    )


def run(cloud: Cloud, plan: Plan, tell: Callable[[float], object]) -> dict[str, Any]:
    """Put a plan's load on a cloud, as `drive` does, and make its record."""
    driven = drive(cloud, plan, tell)
    start, answers = driven.answers()
    return {
        "name": plan.name,
        "scenario": plan.scenario.name,
        "about": plan.scenario.about,
        "mode": plan.mode,
        "machine": machine(),
        "wan": cloud.hybrid.wan.words,
        "policies": cloud.topology.policies.model_dump(),
        "workers": plan.workers,
        "think": plan.think,
        "start": start,
        "counted": driven.counted,
        "occupied_ms": driven.occupied_ms,
        "failure": asdict(driven.failure) if driven.failure else None,
        **measured(answers, Seen(start, plan.scenario, driven.failure)),
    }


def _locust(cloud: Cloud, plan: Plan, load: Load, tell: Callable[[float], object]) -> Failure | None:
    load.rows.unlink(missing_ok=True)
    described = plan.folder / "load.json"
    described.write_text(load.model_dump_json(indent=2) + "\n")
    flags = ["--load", str(described), "--headless", "--html", str(plan.folder / "locust.html")]
    flags += ["--exit-code-on-error", "0", "--loglevel", "WARNING", "--stop-timeout", f"{load.timeout:g}"]
    flags += ["--processes", str(plan.workers)] if plan.workers > 1 else []
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *flags]
    log = plan.folder / "locust.log"
    with ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        stack.callback(_end, process)
        start = _begun(process, load.rows, log)
        failure = None
        if plan.scenario.fault:
            site = cloud.hybrid.public if plan.mode == "public" else cloud.hybrid.private
            failure = stack.enter_context(Failing(plan.scenario.fault, site, start))
        while process.poll() is None:
            tell(time.time() - start)
            time.sleep(0.2)
        if process.returncode or time.time() - start < plan.scenario.seconds:
            raise LoadFailed(f"Locust ended with status {process.returncode} before its time; see {log}")
    return failure


def _begun(process: "subprocess.Popen[bytes]", file: Path, log: Path) -> float:
    """When the load began, once it has."""
    deadline = time.monotonic() + STARTING_S
    while not (file.exists() and file.stat().st_size):
        if process.poll() is not None or time.monotonic() > deadline:
            raise LoadFailed(f"Locust did not begin; see {log}")
        time.sleep(0.05)
    with file.open() as opened:
        return float(json.loads(opened.readline())[rows.START])


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        process.wait()


def _since(now: dict[str, int], before: dict[str, int], failure: Failure | None) -> dict[str, int]:
    """Requests by model that callers can name; a server that was killed has counted anew."""
    counted = {**now}
    if failure and failure.way == "kill":
        counted = {model: now.get(model, 0) + failure.counted.get(model, 0) for model in {*now, *failure.counted}}
    return {model: counted.get(model, 0) - before.get(model, 0) for model in MODELS if counted.get(model)}


def _occupied(now: Mapping[str, tuple[int, int]], before: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """Milliseconds of an execution, by model; those that none was made of are left out."""
    found = {}
    for model, (executed, busy) in now.items():
        first, first_busy = before.get(model, (0, 0))
        if model in MODELS and executed > first:
            found[model] = (busy - first_busy) / (executed - first) / 1000
    return found
