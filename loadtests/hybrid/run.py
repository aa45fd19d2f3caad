"""One run: a scenario on a running cloud, used in one of its ways."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deploy import ROOT
from deploy.gateway.config import AUDIT_LOG
from loadtests.hybrid import answers
from loadtests.hybrid.cloud import Cloud, Mode
from loadtests.hybrid.faults import Failure, failing
from loadtests.hybrid.load import START, Load
from loadtests.hybrid.measured import measured
from loadtests.hybrid.scenarios import Scenario, at
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
    """A load that was put on a cloud.

    start: when it began, in seconds since 1970. answers: every request, as `answers.join` has them. counted: requests
    by site and model, by the sites' own counters. occupied_ms: mean time for which a request occupied a process, by
    site and model; empty where a site failed.
    """

    start: float
    answers: pd.DataFrame
    failure: Failure | None
    counted: dict[str, dict[str, int]]
    occupied_ms: dict[str, dict[str, float]]


def drive(cloud: Cloud, plan: Plan, tell: Callable[[str], object]) -> Driven:
    """Put a plan's load on a cloud.

    Args:
        cloud: running; its gateway is taken up anew.
        plan: what to do.
        tell: called now and then with what is under way.

    Raises:
        LoadFailed: Locust could not begin, or ended before its time.
        ShelfbridgeError: a site could not be started again.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    gateway = cloud.use(plan.mode)
    log = gateway.settings.run_dir / AUDIT_LOG
    offset = log.stat().st_size if log.exists() else 0
    sites = {site.name: site for site in (cloud.hybrid.private, cloud.hybrid.public)}
    before = {name: (site.requests(), site.computed()) for name, site in sites.items()}
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
    with _locust(plan, load) as (process, start):
        site = cloud.hybrid.public if plan.mode == "public" else cloud.hybrid.private
        fault = plan.scenario.fault
        with failing(fault, site, start) if fault else nullcontext() as failure:
            while process.poll() is None:
                seconds = time.time() - start
                _, rate = at(plan.scenario.stages, seconds) or ("", 0.0)
                tell(f"{plan.name}, {rate:.0f} a second: {seconds:.0f} s")
                time.sleep(0.2)
            if process.returncode or time.time() - start < plan.scenario.seconds:
                raise LoadFailed(
                    f"Locust ended with status {process.returncode} before its time; see {plan.folder}/locust.log"
                )
    time.sleep(LOG_S)
    known = answers.lines(log, offset)
    failed = {failure.site: failure} if failure else {}
    return Driven(
        start,
        answers.join(answers.rows(load.rows)[1], known),
        failure,
        {name: _since(site.requests(), before[name][0], failed.get(name)) for name, site in sites.items()},
        {} if failure else {name: _occupied(site.computed(), before[name][1]) for name, site in sites.items()},
    )


def run(cloud: Cloud, plan: Plan, tell: Callable[[str], object]) -> dict[str, Any]:
    """Put a plan's load on a cloud, as `drive` does, and return its record."""
    driven = drive(cloud, plan, tell)
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
        "start": driven.start,
        "counted": driven.counted,
        "occupied_ms": driven.occupied_ms,
        "failure": asdict(driven.failure) if driven.failure else None,
        **measured(driven.answers, driven.start, plan.scenario, driven.failure),
    }


@contextmanager
def _locust(plan: Plan, load: Load) -> Iterator[tuple["subprocess.Popen[bytes]", float]]:
    """A process of Locust and when its load began; it has ended at the exit.

    Raises:
        LoadFailed: it did not begin.
    """
    load.rows.unlink(missing_ok=True)
    described = plan.folder / "load.json"
    described.write_text(load.model_dump_json(indent=2) + "\n")
    flags = ["--load", str(described), "--headless", "--html", str(plan.folder / "locust.html")]
    flags += ["--exit-code-on-error", "0", "--loglevel", "WARNING", "--stop-timeout", f"{load.timeout:g}"]
    flags += ["--processes", str(plan.workers)] if plan.workers > 1 else []
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    log = plan.folder / "locust.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + STARTING_S
        while not (load.rows.exists() and load.rows.stat().st_size):
            if process.poll() is not None or time.monotonic() > deadline:
                raise LoadFailed(f"Locust did not begin; see {log}")
            time.sleep(0.05)
        with load.rows.open() as opened:
            start = float(json.loads(opened.readline())[START])
        yield process, start
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _since(now: Mapping[str, int], before: Mapping[str, int], failure: Failure | None) -> dict[str, int]:
    """Requests by model that callers can name; a server that was killed has counted anew."""
    earlier = failure.counted if failure and failure.way == "kill" else {}
    counted = {model: now.get(model, 0) + earlier.get(model, 0) for model in MODELS}
    return {model: count - before.get(model, 0) for model, count in counted.items() if count}


def _occupied(now: Mapping[str, tuple[int, int]], before: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """Milliseconds of an execution, by model; those that none was made of are left out."""
    spent = {model: np.subtract(total, before.get(model, (0, 0))) for model, total in now.items() if model in MODELS}
    return {model: float(busy / executed / 1000) for model, (executed, busy) in spent.items() if executed}
