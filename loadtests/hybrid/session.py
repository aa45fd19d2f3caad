"""What a command line asks for, as plans of runs."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from build.shelf.interactions import read
from deploy.hybrid import Topology, load
from loadtests.hybrid.cloud import Mode
from loadtests.hybrid.run import Plan
from loadtests.hybrid.scenarios import SCENARIOS, Scenario, steady
from loadtests.hybrid.shop import Shop
from loadtests.hybrid.traffic import MIX, RESTRICTED, Kind
from loadtests.serving import queries_of

SECONDS: Mapping[str, float] = {"steady": 20.0, "flash_sale": 28.0, "site_killed": 40.0, "site_frozen": 24.0}
"""Length of a scenario without its warm-up, where none is asked for; `LONG` of the others."""
LONG = 60.0
HELD_OUT_TIMES = 3
"""A held out run's length, in times of a point's: its p99 is to be held against."""


@dataclass(frozen=True)
class Session:
    """The runs of one command."""

    topology: Topology
    shop: Path
    mix: Mapping[Kind, float]
    options: Any

    @classmethod
    def of(cls, options: argparse.Namespace) -> Self:
        """Read the topology and write what visitors ask for.

        Raises:
            SettingsError: the topology cannot be used.
            DataError, ArtefactError: the shop's files cannot be used, or are of another shop.
        """
        topology = load(options.topology)
        wan = SCENARIOS[options.scenario](1, 1).wan if options.command == "run" else None
        if wan:
            topology = topology.model_copy(update={"wan": topology.wan.model_copy(update=wan)})
        shop = write_shop(options, topology.private.release, options.out / "shop.json")
        return cls(topology, shop, mix_of(options.restricted), options)

    def scenario(self, name: str) -> Scenario:
        """A scenario at the rate and of the length that are asked for."""
        seconds = getattr(self.options, "seconds", None) or SECONDS.get(name, LONG)
        return SCENARIOS[name](self.options.rate, seconds)

    def plan(self, scenario: Scenario, mode: Mode, folder: Path) -> Plan:
        """A run."""
        options = self.options
        return Plan(scenario, mode, self.shop, folder, self.mix, options.think, options.workers, options.seed)

    def cell(self, scenario: str, mode: Mode, folder: Path) -> Plan:
        """A run of the matrix."""
        return self.plan(self.scenario(scenario), mode, folder)

    def point(self, rate: float, mode: Mode, folder: Path) -> Plan:
        """A run of the curves."""
        return self.plan(steady(rate, self.options.seconds), mode, folder)

    def held_out(self, rate: float, folder: Path) -> Plan:
        """A run that the curves know nothing of: of other requests, and longer than theirs."""
        plan = self.plan(steady(rate, HELD_OUT_TIMES * self.options.seconds), "hybrid", folder)
        return replace(plan, seed=plan.seed + 1)


def write_shop(options: argparse.Namespace, release: Path, file: Path) -> Path:
    """Write what visitors ask for.

    Raises:
        DataError, ArtefactError: a file cannot be used, or is of another shop than the release.
    """
    stream = queries_of(release, options.catalogue, options.judgments)()
    bought = read(options.interactions)
    shop = Shop(queries=stream.pool, products=list(bought.items), shoppers=list(bought.users))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(shop.model_dump_json())
    return file


def mix_of(restricted: float | None) -> dict[Kind, float]:
    """The shop's mix, with another share of what is restricted."""
    if restricted is None:
        return dict(MIX)
    usual = sum(MIX[kind] for kind in RESTRICTED)
    factors = {True: restricted / usual, False: (1 - restricted) / (1 - usual)}
    mix = {kind: part * factors[kind in RESTRICTED] for kind, part in MIX.items()}
    return {kind: part for kind, part in mix.items() if part}
