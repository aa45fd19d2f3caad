"""A release is whole, checked, and made current in one step; what it is measured by is right."""

import io
import json
import math
import os
import shutil
import threading
from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format
from rich.console import Console
from tritonclient.grpc import model_config_pb2

from build.evaluate import STAGES, evaluate
from build.evaluation.report import table, write_report
from build.release import publish as release
from build.release.publish import assemble, embedding_width, open_release, publish, verify
from shelfbridge import configs, contract
from shelfbridge.catalogue import Catalogue, Judgment, Judgments
from shelfbridge.errors import ArtefactError, DataError
from shelfbridge.release import read_manifest
from tests.functional import tiny

QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The stages' results, as small as they come: one folder per model."""
    folder = tmp_path_factory.mktemp("stages")
    return tiny.write_parts(folder)


@pytest.fixture(scope="module")
def published(made, tmp_path_factory):
    """A folder of releases with one in it; not to be changed."""
    releases = tmp_path_factory.mktemp("releases")
    publish(releases, parts=made, about={"base": "tiny"})
    return releases


@pytest.fixture
def releases(published, tmp_path):
    shutil.copytree(published, tmp_path / "releases", symlinks=True)
    return tmp_path / "releases"


def changed(parts: dict[str, Path], folder: Path, model: str) -> dict[str, Path]:
    """The parts with one of another identity, in a copy that may be edited."""
    copy = folder / model / "2"
    shutil.copytree(parts[model], copy)
    return {**parts, model: copy}


def names(releases: Path) -> set[str]:
    """What is there, but for the locks, of which that of a release's changes is in their folder."""
    return {path.name for path in releases.iterdir() if path.name != ".lock" and not path.match("[0-9]*.changes")}


class TestPublishing:
    def test_makes_a_repository_of_every_model(self, published):
        current = published / "current"
        assert {p.name for p in current.iterdir() if p.is_dir()} == set(contract.MODELS)
        assert all((current / model / "1").is_dir() for model in contract.MODELS)
        assert (current / "preprocess/1/model.py").is_file()
        assert not (current / "preprocess/model.py").exists()

    def test_without_a_shelf_its_models_are_left_out(self, tmp_path, made):
        parts = {model: part for model, part in made.items() if model not in contract.OF_SHELVES}
        release = publish(tmp_path / "releases", parts=parts, about={})
        there = {p.name for p in release.iterdir() if p.is_dir()}
        assert there == set(contract.MODELS) - set(contract.OF_SHELVES)
        assert {"search", "search_deep", "events", "privacy"} <= there

    def test_makes_the_first_release_current(self, published):
        assert names(published) == {"1", "current"}
        assert (published / "current").readlink() == Path("1")

    def test_the_manifest_tells_what_it_was_made_from(self, published, made):
        manifest = read_manifest(published / "current")
        assert manifest["release"] == 1
        assert manifest["base"] == "tiny"
        assert set(manifest["made_from"]) == {*made, "model_repository"}
        assert manifest["tools"].keys() >= {"python", "numpy", "onnxruntime"}
        assert "encoder/1/model.onnx" in manifest["files"]

    def test_holds_further_files_that_it_is_given(self, tmp_path, made):
        (tmp_path / "lengths").write_text("{}")
        extra = {"lengths.json": tmp_path / "lengths"}
        made_release = publish(tmp_path / "releases", parts=made, about={}, extra=extra)
        assert (made_release / "lengths.json").read_text() == "{}"
        assert "lengths.json" in verify(made_release)["files"]

    def test_any_user_may_read_it(self, published):
        folders = [published / "1", *(p for p in (published / "1").rglob("*") if p.is_dir())]
        assert [p for p in folders if p.stat().st_mode & 0o055 != 0o055] == []

    def test_the_same_again_keeps_what_is_current(self, releases, made):
        assert publish(releases, parts=made, about={"base": "tiny"}) == releases / "1"
        assert names(releases) == {"1", "current"}

    def test_other_figures_of_the_same_make_the_next_release(self, releases, made, published):
        """Where test was judged anew: a release's record would be of the judgments before."""
        figures = {"split": "test", "queries": 2, "products": 3, "worst": math.nan, "stages": {}}
        about = {name: {} for name in ("decisions", "settings", "shop")} | {"base": "tiny", "teacher": "tiny"}
        assert publish(releases, parts=made, about={**about, "figures": figures}) == releases / "2"
        assert publish(releases, parts=made, about={**about, "figures": figures}) == releases / "2"
        again = publish(releases, parts=made, about={**about, "figures": {**figures, "queries": 3}})
        assert read_manifest(again)["figures"]["queries"] == 3

    def test_of_two_builds_at_a_time_one_publishes(self, made, tmp_path, monkeypatch):
        both = threading.Barrier(2)
        digest = release.tree_digest
        monkeypatch.setattr(release, "tree_digest", lambda folder: (both.wait(60), digest(folder))[1])
        found = []
        builds = [
            threading.Thread(target=lambda: found.append(publish(tmp_path / "releases", parts=made, about={})))
            for _ in range(2)
        ]
        for build in builds:
            build.start()
        for build in builds:
            build.join(60)
        assert found == [tmp_path / "releases/1"] * 2
        assert names(tmp_path / "releases") == {"1", "current"}

    def test_another_contract_makes_the_next_release(self, releases, made, monkeypatch):
        """What a server says of a release that it refuses is to build it again."""
        monkeypatch.setattr(contract, "IDENTITY", "another")
        made_release = publish(releases, parts=made, about={"base": "tiny"})
        assert (made_release.name, read_manifest(made_release)["contract"]) == ("2", "another")

    def test_another_part_makes_the_next_release(self, releases, made, tmp_path):
        assert publish(releases, parts=changed(made, tmp_path, "ranker"), about={}) == releases / "2"
        assert names(releases) == {"1", "2", "current"}
        assert (releases / "current").readlink() == Path("2")
        verify(releases / "1")
        assert (releases / "2/ranker/2/model.onnx").is_file()

    @pytest.mark.parametrize("model", ["encoder", "ranker", "cross_encoder"])
    def test_a_graph_that_does_not_load_leaves_all_as_it_was(self, releases, made, tmp_path, model):
        parts = changed(made, tmp_path, model)
        graph = parts[model] / "model.onnx"
        graph.write_bytes(graph.read_bytes()[:-40])
        with pytest.raises(ArtefactError, match=model):
            publish(releases, parts=parts, about={})
        assert names(releases) == {"1", "current"}
        assert (releases / "current").readlink() == Path("1")

    def test_a_missing_file_leaves_all_as_it_was(self, releases, made, tmp_path):
        parts = changed(made, tmp_path, "retrieve")
        (parts["retrieve"] / "tokens.npy").unlink()
        with pytest.raises(ArtefactError, match=r"tokens\.npy cannot be read"):
            publish(releases, parts=parts, about={})
        assert names(releases) == {"1", "current"}

    def test_a_failing_first_release_leaves_no_current(self, tmp_path, made):
        with pytest.raises(ArtefactError):
            publish(tmp_path / "new", parts={**made, "ranker": made["postprocess"]}, about={})
        assert names(tmp_path / "new") == set()

    def test_current_is_never_absent_while_it_moves(self, releases, made, tmp_path, monkeypatch):
        seen = []
        replace = Path.replace

        def watched(self: Path, target: Path) -> Path:
            seen.append((releases / "current").readlink())
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", watched)
        publish(releases, parts=changed(made, tmp_path, "ranker"), about={})
        assert seen == [Path("1")]

    def test_all_of_it_is_on_disk_before_current_moves(self, releases, made, tmp_path, monkeypatch):
        synced, before = set(), []
        monkeypatch.setattr(os, "fsync", lambda number: synced.add(os.fstat(number).st_ino))
        replace = Path.replace
        monkeypatch.setattr(Path, "replace", lambda self, target: before.append(set(synced)) or replace(self, target))
        made_release = publish(releases, parts=changed(made, tmp_path, "ranker"), about={})
        needed = {path.stat().st_ino for path in (releases, made_release, *made_release.rglob("*"))}
        assert needed <= before[-1]

    @pytest.mark.parametrize("damage", ["file", "manifest", "whole"])
    def test_a_damaged_current_release_is_made_anew(self, releases, made, damage):
        if damage == "file":
            (releases / "1/ranker/1/model.onnx").unlink()
        elif damage == "manifest":
            (releases / "1/manifest.json").write_text("{")
        else:
            shutil.rmtree(releases / "1")
        again = publish(releases, parts=made, about={})
        verify(again)
        assert (releases / "current").resolve() == again


class TestVerifying:
    def test_a_release_as_written_is_accepted(self, releases):
        assert verify(releases / "current")["release"] == 1

    @pytest.mark.parametrize("name", ["search/config.pbtxt", "encoder/1/model.onnx", "postprocess/1/ids.npy"])
    def test_a_changed_byte_is_refused_by_name(self, releases, name):
        file = releases / "1" / name
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with pytest.raises(ArtefactError, match=f"{name} is missing or was changed"):
            verify(releases / "1")

    def test_a_missing_file_is_refused_by_name(self, releases):
        (releases / "1/retrieve/1/tokens.npy").unlink()
        with pytest.raises(ArtefactError, match=r"retrieve/1/tokens\.npy is missing or was changed"):
            verify(releases / "1")

    @pytest.mark.parametrize("content", [None, "", "{"])
    def test_a_folder_without_a_manifest_is_no_release(self, tmp_path, content):
        if content is not None:
            (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(ArtefactError, match=r"is not a release: no readable manifest\.json; run"):
            verify(tmp_path)


class TestWidth:
    @staticmethod
    def dims(folder: Path) -> dict[str, list[int]]:
        """Dims of every tensor called embedding, by config."""
        found = {}
        for path in sorted(folder.rglob("*.pbtxt")):
            config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
            for tensor in (*config.input, *config.output):
                if tensor.name == "embedding":
                    found[str(path.relative_to(folder))] = list(tensor.dims)
        return found

    def test_of_another_encoder_goes_into_the_configs(self, tmp_path):
        encoder = tmp_path / "stages/encoder/1"
        encoder.mkdir(parents=True)
        (encoder / "model.onnx").write_bytes(
            onnx.parser.parse_model(tiny.ENCODER.replace("float[n, 384]", "float[n, 512]")).SerializeToString()
        )
        assemble(tmp_path / "release", number=3, parts={"encoder": encoder}, about={})
        dims = self.dims(tmp_path / "release")
        assert dims.keys() >= {"encoder/config.pbtxt", "encoder/configs/cpu.pbtxt", "retrieve/config.pbtxt"}
        assert set(map(tuple, dims.values())) == {(512,)}
        verify(tmp_path / "release")

    def test_of_the_default_leaves_the_configs_as_they_are(self, tmp_path):
        shutil.copytree(release.SOURCES, tmp_path / "sources")
        before = {path: path.read_bytes() for path in tmp_path.rglob("*.pbtxt")}
        configs.set_width(tmp_path / "sources", contract.EMBEDDING_WIDTH)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*.pbtxt")} == before

    def test_leaves_all_else_in_a_config_as_it_is(self, tmp_path):
        shutil.copytree(release.SOURCES, tmp_path / "sources")
        configs.set_width(tmp_path / "sources", 512)
        for path in (tmp_path / "sources").rglob("*.pbtxt"):
            original = release.SOURCES / path.relative_to(tmp_path / "sources")
            one, other = (text_format.Parse(p.read_text(), model_config_pb2.ModelConfig()) for p in (path, original))
            for tensor in (*one.input, *one.output):
                if tensor.name == "embedding":
                    tensor.dims[:] = [contract.EMBEDDING_WIDTH]
            assert one == other

    def test_is_read_from_the_graph(self, made):
        assert embedding_width(made["encoder"] / "model.onnx") == contract.EMBEDDING_WIDTH

    def test_a_missing_graph_is_named(self, tmp_path):
        with pytest.raises(ArtefactError, match=r"model\.onnx cannot be read"):
            embedding_width(tmp_path / "model.onnx")


FIGURE = {"mean": 0.5, "low": 0.4, "high": 0.61, "over_lexical": 0.1, "p": 0.032}
RECORD = {
    "split": "test",
    "queries": 12,
    "products": 34567,
    "stages": {
        stage: {"nDCG@10": FIGURE, "MRR@10": {"mean": 0.7}, "recall@100": {"mean": 0.81234}}
        for stage in ("lexical", "ranked")
    },
}


class TestReporting:
    def test_the_table_is_markdown(self):
        before = {"over_before": {"value": 0.05, "low": -0.01, "high": 0.11}}
        ranked = {**RECORD["stages"]["ranked"], "nDCG@10": {**FIGURE, **before}}
        assert table({**RECORD, "stages": {**RECORD["stages"], "ranked": ranked}}).splitlines() == [
            "12 test queries over 34,567 products; mean [95 % interval].",
            "",
            "| stage | nDCG@10 | over BM25 (paired p) | over the stage before | MRR@10 | recall@100 |",
            "| --- | --- | --- | --- | --- | --- |",
            "| lexical | 0.500 [0.400, 0.610] |  |  | 0.700 | 0.812 |",
            "| ranked | 0.500 [0.400, 0.610] | +0.100 (0.032) | +0.050 [-0.010, +0.110] | 0.700 | 0.812 |",
        ]

    @pytest.mark.parametrize("low", [0.4, 0.52])
    def test_table_and_plot_are_written(self, tmp_path, low):
        one = {**RECORD["stages"]["lexical"], "nDCG@10": {**FIGURE, "low": low}}
        write_report(tmp_path, {**RECORD, "stages": {"lexical": one}})
        assert (tmp_path / "evaluation.md").read_text().startswith("12 test queries")
        assert (tmp_path / "evaluation.png").read_bytes().startswith(b"\x89PNG")

    def test_an_evaluation_measures_every_stage(self, published, tmp_path):
        catalogue = Catalogue(tuple(tiny.catalogue()))
        wanted = [p for p in catalogue.products if p.title.startswith("red camping tent")]
        judgments = Judgments(
            tuple(
                Judgment(query_id="q", query="red camping tent", product_id=p.product_id, label="E", split="dev")
                for p in wanted
            )
        )
        evaluate(
            tmp_path,
            steps=open_release(published / "current"),
            catalogue=catalogue,
            judgments=judgments,
            split="dev",
            console=QUIET,
        )
        record = json.loads((tmp_path / "evaluation.json").read_text())
        assert (record["queries"], record["products"]) == (1, len(catalogue.products))
        assert tuple(record["stages"]) == STAGES
        assert record["stages"]["lexical"]["nDCG@10"]["mean"] == pytest.approx(1)
        assert record["stages"]["ranked"]["recall@100"]["mean"] == pytest.approx(1)

    def test_a_split_without_judgments_is_refused(self, published, tmp_path):
        with pytest.raises(DataError, match="no judgment in split 'test'; choose another"):
            evaluate(
                tmp_path,
                steps=open_release(published / "current"),
                catalogue=Catalogue(tuple(tiny.catalogue())),
                judgments=Judgments((Judgment(query_id="q", query="q", product_id="a", label="E", split="dev"),)),
                split="test",
                console=QUIET,
            )
