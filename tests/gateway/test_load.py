"""A real load by Locust on two real sites: its witnesses agree, with several workers and when a site dies too."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.hybrid import Topology
from loadtests.hybrid.cloud import Cloud
from loadtests.hybrid.run import Plan, drive, run
from loadtests.hybrid.scenarios import Fault, Scenario, Stage
from loadtests.hybrid.traffic import MIX, RESTRICTED, Shop
from tests.functional.tiny import catalogue

pytestmark = pytest.mark.slow
RATE, SECONDS = 40.0, 4.0


@pytest.fixture(scope="module")
def cloud(own: Callable[[str], Topology], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(own("load"), tmp_path_factory.mktemp("load") / "security") as running:
        yield running


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("shop") / "shop.json"
    products = [product.product_id for product in catalogue()]
    file.write_text(Shop(queries=["red shoes", "lamp"], products=products, shoppers=["u1", "u2"]).model_dump_json())
    return file


def plan(shop: Path, folder: Path, mode: Any = "hybrid", workers: int = 1, fault: Fault | None = None) -> Plan:
    scenario = Scenario("short", "short", (Stage.level("all", SECONDS, RATE),), fault)
    return Plan(scenario, mode, shop, folder, MIX, think=0.5, workers=workers, seed=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_request_is_known_to_all_witnesses(cloud: Cloud, shop: Path, tmp_path: Path, workers: int) -> None:
    driven = drive(cloud, plan(shop, tmp_path, workers=workers), lambda text: None)
    answers = driven.answers
    assert len(answers) > 0.5 * RATE * SECONDS
    assert not answers.error.any()
    assert set(answers.kind) == set(MIX)
    assert set(answers.site) <= {"private", "public"}
    parts = answers.client + answers.gateway + answers.beyond + answers.in_steps
    assert parts.to_numpy() == pytest.approx(answers.ms.to_numpy(), rel=0.02)
    seen = Counter(zip(answers.site, answers.kind, strict=True))
    assert seen == {(site, kind): n for site, kinds in driven.counted.items() for kind, n in kinds.items() if n}
    assert (tmp_path / "locust.html").stat().st_size > 10_000


def test_public_answers_what_may_leave_and_nothing_else(cloud: Cloud, shop: Path, tmp_path: Path) -> None:
    record = run(cloud, plan(shop, tmp_path, "public"), lambda text: None)
    assert record["burst_share"] == 1
    assert not any(record["counted"]["public"].get(kind) for kind in RESTRICTED)
    assert all(record["counted"]["private"][kind] for kind in RESTRICTED)


def test_private_answers_all(cloud: Cloud, shop: Path, tmp_path: Path) -> None:
    record = run(cloud, plan(shop, tmp_path, "private"), lambda text: None)
    assert not any(record["counted"]["public"].values())
    assert record["failed"] == {"restricted": 0, "unrestricted": 0}


def test_a_killed_site_is_seen_and_comes_back(cloud: Cloud, shop: Path, tmp_path: Path) -> None:
    fault = Fault("kill", at=1.0)
    record = run(cloud, plan(shop, tmp_path, fault=fault), lambda text: None)
    assert record["failed"]["unrestricted"] == 0
    assert record["failed"]["restricted"] > 0
    assert all("must not leave" in error["words"] for error in record["errors"])
    assert not any(record["counted"]["public"].get(kind) for kind in RESTRICTED)
    assert cloud.hybrid.private.ready()
    json.dumps(record)
