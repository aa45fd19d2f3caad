"""The whole way: a small shop is built by the command line, served by a real Triton, and found as evaluated."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console

from build.evaluate import measure, offline_runs, served_runs
from build.release.publish import open_release, verify
from build.sample import make_sample
from deploy.embedded import EmbeddedServer, EmbeddedSettings
from shelfbridge.catalogue import Catalogue, Judgments, read_catalogue, read_judgments
from shelfbridge.client import SearchClient, ShopperClient
from shelfbridge.contract import STEPS
from shelfbridge.errors import ArtefactError
from shelfbridge.release import read_manifest
from tests.functional.conftest import apart
from tests.functional.wire import Wire

SPLITS = {"train": 6, "dev": 3, "test": 3}
ROOT = Path(__file__).parents[2]
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few of the sample's queries, their products and purchases, and one row that is no product."""
    folder, sample = tmp_path_factory.mktemp("shop"), make_sample(7, 3200)
    products, judgments = [item.product for item in sample.items], sample.judgments
    kept: set[str] = set()
    for split, count in SPLITS.items():
        kept |= set(list(dict.fromkeys(row.query_id for row in judgments if row.split == split))[::7][:count])
    rows = [row for row in judgments if row.query_id in kept]
    judged = {row.product_id for row in rows}
    with (folder / "products.jsonl").open("w") as file:
        file.write('{"product_id": "no title"}\n')
        file.writelines(p.model_dump_json() + "\n" for p in products if p.product_id in judged)
    with (folder / "judgments.tsv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["query_id", "query", "product_id", "label", "split"])
        writer.writerows([r.query_id, r.query, r.product_id, r.label.value, r.split] for r in rows)
    with (folder / "interactions.jsonl").open("w") as file:
        bought = [purchase for purchase in sample.purchases if purchase.product_id in judged]
        file.writelines(json.dumps(asdict(purchase)) + "\n" for purchase in bought)
    return folder


def build(shop: Path) -> str:
    """What `python -m build` prints for the shop."""
    command = [sys.executable, "-m", "build", "--preset", "smoke", "--out", str(shop / "out")]
    files = ["--catalogue", str(shop / "products.jsonl"), "--judgments", str(shop / "judgments.tsv")]
    files += ["--interactions", str(shop / "interactions.jsonl")]
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def printed(shop: Path) -> str:
    """Output of the first build."""
    return build(shop)


@pytest.fixture(scope="module")
def release(shop: Path, printed: str) -> Path:
    """What the build published."""
    return shop / "out" / "releases" / "current"


@pytest.fixture(scope="module")
def data(shop: Path) -> tuple[Catalogue, Judgments]:
    """The shop's products and judgments."""
    catalogue = read_catalogue(shop / "products.jsonl")
    return catalogue, read_judgments(shop / "judgments.tsv", catalogue)


@pytest.fixture(scope="module", params=["together", "apart"])
def server(
    request: pytest.FixtureRequest, release: Path, make_settings: Callable[..., EmbeddedSettings]
) -> Iterator[EmbeddedServer]:
    """A server of the release."""
    with EmbeddedServer(make_settings(release, request.param)) as running:
        yield running


def test_a_bad_row_is_reported_and_does_not_end_the_build(printed):
    assert re.search(r"1 rows? (was|were) left out", printed)
    assert "line 1: title" in printed


def test_the_build_measures_every_stage(printed):
    for stage in ("lexical", "dense", "fused", "ranked", "deep"):
        assert f"| {stage} |" in printed


def test_the_build_measures_the_shelf(printed, release):
    for name in ("popular", "EASE", "shelf"):
        assert f"recall@20, {name}: overall " in printed
    assert read_manifest(release)["shelf"]["shoppers"] > 100


def test_the_manifest_tells_what_was_decided(release):
    decisions = read_manifest(release)["decisions"]
    assert {"the encoder's student", "the learned ranker", "all stages"} <= decisions.keys()
    assert all(decision["reason"] for decision in decisions.values())


def test_a_second_build_finds_everything_unchanged(shop, release):
    before = release.resolve()
    printed = build(shop)
    stages = {path.name for path in (shop / "out" / "stages").iterdir()}
    assert {stage for stage in stages if f"{stage}: unchanged" in printed} == stages
    assert release.resolve() == before


def test_the_served_ensembles_rank_as_the_offline_evaluation(release, data, server):
    catalogue, judgments = data
    offline = offline_runs(open_release(release), catalogue, judgments, QUIET)
    served = served_runs(server.address, judgments, QUIET)
    for stage in ("ranked", "deep"):
        for query_id in judgments.queries:
            best = [sorted(run[stage][query_id], key=run[stage][query_id].get)[::-1][:10] for run in (offline, served)]
            assert best[0] == best[1]
        figures = [measure({stage: run[stage]}, judgments)[stage]["nDCG@10"].mean for run in (offline, served)]
        assert figures[0] == pytest.approx(figures[1], abs=1e-9)


def test_an_answer_names_its_release_its_steps_and_the_products(release, data, server):
    catalogue, judgments = data
    query = next(iter(judgments.queries.values()))
    with SearchClient(server.address, timeout=10) as client:
        result = client.search(query, k=3, deep=True)
    assert result.model_version == str(read_manifest(release)["release"])
    assert list(result.steps) == list(STEPS["search_deep"])
    assert [hit.rank for hit in result.hits] == [1, 2, 3]
    for hit in result.hits:
        assert hit.product["title"] == catalogue.products[catalogue.rows_of[hit.product_id]].title


def test_shelves_are_filled_with_the_products(data, server):
    catalogue, _ = data
    sold = {product.product_id for product in catalogue.products}
    with ShopperClient(server.address, timeout=30) as client:
        popular = client.recommend()
        found = client.recommend(items=[hit.product_id for hit in popular.hits[:3]])
        beside = client.recommend(with_item=popular.hits[0].product_id)
    assert [popular.shown, found.shown, beside.shown] == ["popular", "for_you", "goes_with"]
    for shelf in (popular, found, beside):
        assert {hit.product_id for hit in shelf.hits} <= sold
        assert shelf.hits


@apart
def test_queries_of_different_lengths_are_joined_and_answered_as_alone(release, data, server):
    queries = [f"{'red ' * words}boots" for words in range(24)]  # each once: the encoder's answers are kept
    products, offline = data[0].products, open_release(release)
    alone = [[products[row].product_id for row in offline.ranked(query)[0][:5]] for query in queries]
    wire = Wire(server.address)
    with SearchClient(server.address, timeout=30) as client, ThreadPoolExecutor(len(queries)) as pool:
        answered, executed = wire.counts("encoder")
        together = [[hit.product_id for hit in result.hits] for result in pool.map(client.search, queries)]
        more_answered, more_executed = wire.counts("encoder")
    wire.close()
    assert [ids[:5] for ids in together] == alone
    assert more_executed - executed < more_answered - answered == len(queries)


def test_a_damaged_release_is_not_opened(release, tmp_path):
    copy = shutil.copytree(release.resolve(), tmp_path / "release")
    graph = next(copy.glob("ranker/*/model.onnx"))
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(ArtefactError, match=r"model\.onnx is missing or was changed"):
        verify(copy)
    with pytest.raises(ArtefactError, match=r"model\.onnx cannot be read as an ONNX model"):
        open_release(copy)
