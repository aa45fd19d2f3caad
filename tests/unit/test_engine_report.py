"""nDCG decides what is published, and the report is written whatever happens."""

import json
import shutil
from dataclasses import replace

import pytest

from build.engines import __main__ as program
from build.engines import quality
from build.engines.checks import master_session
from build.engines.publishing import masters
from build.engines.quality import Judged, ensembles, judge
from build.engines.runtime import EngineSession
from build.evaluation.offline import Ensembles
from shelfbridge.catalogue import Catalogue, Judgment, Judgments
from shelfbridge.engine import read_record
from shelfbridge.errors import ArtefactError, DataError
from tests.functional import tiny
from tests.unit.engine_double import CpuDevice
from tests.unit.engine_samples import NETWORKS, OF_SHELF, QUIET, RANKER, STEP, judged, names, run, write_release
from tests.unit.tensorrt_double import TensorRTDouble


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An `out` folder with release 1 in it; not to be changed."""
    return write_release(tmp_path_factory.mktemp("engines"))


@pytest.fixture
def out(built, tmp_path, monkeypatch):
    """A copy of it, and batches small enough for a test."""
    shutil.copytree(built, tmp_path / "out", symlinks=True)
    monkeypatch.setattr(program.configs, "max_batch", lambda config: 2)
    return tmp_path / "out"


@pytest.fixture
def trt():
    return TensorRTDouble()


class Reversed:
    """A ranker that puts the worst first."""

    def __init__(self, master) -> None:
        self._session = master_session(master)

    def run(self, outputs, inputs):
        return [-array for array in self._session.run(outputs, inputs)]


@pytest.fixture(scope="module")
def graphs(built):
    return masters(built / "releases/1", "int8", NETWORKS)


@pytest.fixture(scope="module")
def base(built):
    return ensembles(built / "releases/1", masters(built / "releases/1", "fp32", NETWORKS))


def lost(base, graphs, engines, budget):
    return judge(base, graphs, engines, judged=judged(), budget=budget, console=QUIET)


class TestQuality:
    def test_equal_engines_lose_nothing(self, out, trt):
        made = run(out, trt, judge_by=judged())
        record = json.loads((out / "report/engine_report.json").read_text())
        assert made.name == "2"
        assert (record["split"], record["queries"]) == ("dev", 2)
        assert list(record["quality"]) == ["lexical", "dense", "fused", "ranked", "deep"]
        for row in record["quality"].values():
            assert list(row) == ["fp32", "master", "engine"]
            for figure in row.values():
                assert set(figure) == {"mean", "low", "high", "over_fp32", "p"}
                assert figure["over_fp32"] == 0
                assert figure["mean"] == row["fp32"]["mean"]
        text = (out / "report/engine_report.md").read_text()
        assert "| stage | fp32 | ONNX masters | engines |" in text
        assert "| ranked | " in text

    def test_a_loss_within_the_budget_is_permitted(self, base, graphs):
        assert lost(base, graphs, {"ranker": Reversed(graphs["ranker"])}, 1.0)[1] is None

    def test_a_loss_is_refused_by_the_model_that_lost_it(self, base, graphs):
        refused = str(lost(base, graphs, {"ranker": Reversed(graphs["ranker"])}, 0.005)[1])
        assert "nDCG@10 of fp32 at stage deep (budget 0.005; their ONNX masters lose 0.0000)" in refused
        assert "most of it ranker" in refused

    def test_what_the_masters_lost_before_counts_too(self, base, graphs, tmp_path):
        """Engines that are as bad as their masters have lost the budget all the same."""
        tiny.write_model(tmp_path / "int8.onnx", RANKER.replace("Mul (both, present)", "Neg (both)"), step=STEP)
        worse = {**graphs, "ranker": tmp_path / "int8.onnx"}
        table, refused = lost(base, worse, {"ranker": master_session(worse["ranker"])}, 0.005)
        assert table["ranked"]["master"] == table["ranked"]["engine"]
        assert table["ranked"]["master"]["over_fp32"] < -0.005
        assert "most of it ranker" in str(refused)

    def test_only_what_is_served_counts(self, base, graphs, monkeypatch):
        def runs(ensembles, *_):
            good, bad = {"q": {"a": 1.0}}, {"q": {"b": 1.0}}
            served = {"ranked": good, "deep": good}
            return {**dict.fromkeys(("lexical", "dense", "fused"), good if ensembles is base else bad), **served}

        monkeypatch.setattr(quality, "offline_runs", runs)
        monkeypatch.setattr(Ensembles, "with_networks", lambda ensembles, swapped: None if swapped else ensembles)
        only = Judgments((Judgment(query_id="q", query="q", product_id="a", label="E", split="dev"),))
        table, refused = judge(
            base, graphs, {"encoder": None}, judged=Judged(Catalogue(()), only, "dev"), budget=0.005, console=QUIET
        )
        assert refused is None
        assert table["dense"]["engine"]["over_fp32"] == -1

    def test_a_loss_in_ndcg_is_refused_by_the_model_that_lost_it(self, out, trt, monkeypatch):
        worse, opened = Reversed(out / "releases/1/ranker/1/int8.onnx"), EngineSession

        def open_engine(folder, **where):
            return worse if folder.parent.name == "engine-ranker" else opened(folder, **where)

        monkeypatch.setattr(program, "EngineSession", open_engine)
        with pytest.raises(ArtefactError, match=r"lose 0\.\d+ nDCG@10 of fp32 at stage .*, most of it ranker"):
            run(out, trt, judge_by=judged())
        text = (out / "report/engine_report.md").read_text()
        assert "Refused: ArtefactError: the engines lose" in text
        assert "| ranked |" in text

    def test_the_report_tells_what_was_built_and_seen(self, out, trt):
        run(out, trt)
        record = json.loads((out / "report/engine_report.json").read_text())
        assert (record["release"], record["refused"], record["quality"]) == (2, None, None)
        assert record["tools"]["tensorrt"] == "10.15.1.29"
        assert set(record["engines"]) == {*NETWORKS, *OF_SHELF}
        assert all(engine["checks"] and engine["plan_mb"] >= 0 for engine in record["engines"].values())
        text = (out / "report/engine_report.md").read_text()
        assert "Published as release 2." in text
        assert "nDCG@10 was not measured" in text
        assert "Timings are of eager launches" in text
        assert text.count("| ranker | int8 |") == len(record["engines"]["ranker"]["checks"])


class TestCommandLine:
    @pytest.fixture
    def line(self, out):
        release = ["--release", str(out / "releases/current"), "--precision", "fp16", "--runs", "2"]
        return [*release, "--out", str(out / "report"), "--unjudged"]

    @pytest.fixture
    def machine(self, trt, monkeypatch):
        """One that has TensorRT and a GPU."""
        monkeypatch.setattr(program.api, "tensorrt", lambda: trt)
        monkeypatch.setattr(program, "Gpu", CpuDevice)

    def test_help_says_what_it_does(self, capsys):
        with pytest.raises(SystemExit, match="0"):
            program.main(["--help"])
        assert "never touched" in capsys.readouterr().out

    def test_without_tensorrt_it_ends_with_the_cure(self, line, out, monkeypatch):
        def fails(name: str) -> None:
            raise ImportError("no module")

        monkeypatch.setattr(program.api.importlib, "import_module", fails)
        with pytest.raises(SystemExit, match=r"error: TensorRT cannot be used here .*make engines"):
            program.main(line)
        record = json.loads((out / "report/engine_report.json").read_text())
        assert record["refused"].startswith("PrerequisiteError: TensorRT cannot be used here (no module)")
        assert "TensorRT not found on no GPU" in (out / "report/engine_report.md").read_text()

    def test_without_a_gpu_the_report_is_written_too(self, line, out, trt, monkeypatch):
        def fails() -> None:
            raise RuntimeError("The NVIDIA driver on your system is too old")

        monkeypatch.setattr(program.api, "tensorrt", lambda: trt)
        monkeypatch.setattr("torch.cuda.init", fails)
        with pytest.raises(SystemExit, match="driver on your system is too old"):
            program.main(line)
        record = json.loads((out / "report/engine_report.json").read_text())
        assert "is too old" in record["refused"]
        assert (record["tools"]["tensorrt"], record["gpu"]) == (trt.__version__, None)

    def test_a_foreign_exception_is_written_down_and_goes_on(self, line, out, trt, machine):
        def fails() -> None:
            raise TypeError("incompatible function arguments")

        trt.during_build = fails
        with pytest.raises(TypeError, match="incompatible function arguments"):
            program.main(line)
        record = json.loads((out / "report/engine_report.json").read_text())
        assert record["refused"] == "TypeError: incompatible function arguments"

    def test_what_tensorrt_says_is_kept_but_for_its_small_talk(self, line, out, trt, machine):
        trt.build_error = "no implementation"
        with pytest.raises(SystemExit, match="no implementation"):
            program.main(line)
        said = (out / "report/tensorrt.log").read_text()
        assert "WARNING a warning that is no cause" in said
        assert "ERROR no implementation" in said
        assert "small talk" not in said

    def test_a_report_that_cannot_be_written_is_said_before_the_work(self, line, out, trt, machine):
        (out / "report").write_text("a file in its place")
        with pytest.raises(SystemExit, match=r"report cannot be written to .*--out"):
            program.main(line)
        assert trt.calls == []

    def test_without_judgments_nothing_is_published_unasked(self, line, out, trt, machine):
        line.remove("--unjudged")
        with pytest.raises(SystemExit, match="give --catalogue and --judgments, or --unjudged"):
            program.main(line)
        assert trt.calls == []

    def test_judgments_of_another_catalogue_are_refused(self, out, trt):
        with pytest.raises(DataError, match="was built from another catalogue"):
            run(out, trt, judge_by=replace(judged(), digest="of another"))
        assert trt.calls == []

    @pytest.mark.parametrize("flag", ["--runs", "--workspace-mb"])
    def test_numbers_below_one_are_refused(self, flag, capsys):
        with pytest.raises(SystemExit):
            program.main(["--release", "x", "--precision", "int8", flag, "0"])
        assert f"argument {flag}: 0 is less than 1" in capsys.readouterr().err

    def test_catalogue_and_judgments_go_together(self, tmp_path):
        with pytest.raises(DataError, match="needs both --catalogue and --judgments"):
            program.read(tmp_path / "products.csv", None, "dev", unjudged=True)
        assert program.read(None, None, "dev", unjudged=True) is None

    def test_queries_are_of_the_split_that_the_build_gave_them(self, tmp_path):
        """A file without splits was once all of train, and had nothing to judge engines by."""
        ids = [product.product_id for product in tiny.catalogue()[:40]]
        (tmp_path / "products.jsonl").write_text(
            "".join(json.dumps({"product_id": one, "title": one}) + "\n" for one in ids)
        )
        lines = "".join(f"{place}\tquery {place}\t{one}\tE\n" for place, one in enumerate(ids))
        (tmp_path / "judgments.tsv").write_text("query_id\tquery\tproduct_id\tlabel\n" + lines)
        found = [
            program.read(*(tmp_path / name for name in ("products.jsonl", "judgments.tsv")), split, unjudged=False)
            for split in ("train", "dev", "test")
        ]
        asked = [set(one.judgments.queries.values()) for one in found]
        assert all(asked)
        assert sum(map(len, asked)) == len(set.union(*asked)) == 40

    def test_the_whole_command_publishes(self, line, out, trt, machine, capsys):
        program.main(line)
        assert read_record(out / "releases/current/ranker/2/engine.json").precision == "fp16"
        assert "Published as release 2." in capsys.readouterr().out

    def test_ctrl_c_is_no_traceback(self, line, out, trt, machine):
        def stop() -> None:
            raise KeyboardInterrupt

        trt.during_build = stop
        with pytest.raises(SystemExit, match="stopped; nothing was published"):
            program.main(line)
        assert json.loads((out / "report/engine_report.json").read_text())["refused"] == "KeyboardInterrupt: "
        assert names(out / "releases") == {"1", "current"}
