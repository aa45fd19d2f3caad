"""What compression costs is measured by what shoppers see, and what costs too much is refused by name."""

import io
import json

import numpy as np
import onnx
import pytest
from rich.console import Console

from build.gate import Step, compared, gate
from build.offline import Ensembles
from build.panel import Panel, Verdict, check_scores, tau
from shelfbridge.catalogue import Catalogue, Judgment, Judgments
from shelfbridge.errors import ArtefactError
from tests.functional import tiny

QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return tiny.write_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def ensembles(repository):
    return Ensembles.open(
        tokenizer=repository / "preprocess/1",
        encoder=repository / "encoder/1/model.onnx",
        index=repository / "retrieve/1",
        ranker=repository / "ranker/1/model.onnx",
        pieces=repository / "shortlist/1",
        cross_encoder=repository / "cross_encoder/1/model.onnx",
    )


@pytest.fixture(scope="module")
def panel():
    catalogue = Catalogue(tuple(tiny.catalogue()))
    rows = [
        Judgment(query_id=f"{split}-{query}", query=query, product_id=product.product_id, label="E", split=split)
        for split, query in (("train", "blue desk lamp"), ("dev", "red camping tent"), ("test", "green garden hose"))
        for product in catalogue.products
        if product.title.startswith(query)
    ]
    return Panel.of(catalogue, Judgments(tuple(rows)))


def ranker(folder, change: str):
    """A ranker whose scores are something else than their own."""
    text = tiny.RANKER.replace("SIGNALS", str(len(tiny.SIGNALS))).replace(
        "scores = Mul (both, present)", f"right = Mul (both, present)\n    {change}"
    )
    path = folder / "ranker.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def run(folder, ensembles, panel, *steps: Step, budget: float = 0.005):
    gate(folder, originals=ensembles, steps=steps, panel=panel, budget=budget, console=QUIET)
    return json.loads((folder / "gate.json").read_text())


class TestPanel:
    def test_holds_the_queries_of_dev_first_then_of_train_and_none_of_test(self, panel):
        assert list(panel.judgments.queries.values()) == ["red camping tent", "blue desk lamp"]
        assert panel.dev == 1

    def test_is_cut_at_the_most(self, panel):
        assert len(Panel.of(panel.catalogue, panel.judgments, most=1).judgments.queries) == 1

    def test_rankings_are_worth_what_their_products_are(self, panel, ensembles):
        verdict = panel.judge(ensembles, "ranked", QUIET)
        assert verdict.ndcg == pytest.approx([1, 1])
        backwards = [(rows[::-1], scores) for rows, scores in verdict.rankings]
        assert panel.verdict(backwards).ndcg.max() < 0.5
        assert verdict.first(1).ndcg.shape == (1,)


class TestScores:
    @pytest.mark.parametrize("scores", [[1.0, 1.0, 1.0], [0.0, np.nan, 1.0], [np.inf, 0.0, 1.0]])
    def test_that_tell_nothing_are_refused(self, scores):
        with pytest.raises(
            ArtefactError, match=r"^ranker gives (the same score to every product|scores that are no num)"
        ):
            check_scores(np.array(scores), "ranker")

    def test_of_a_single_candidate_are_fine(self):
        check_scores(np.array([1.0]), "ranker")


class TestGate:
    def test_lets_through_what_loses_nothing(self, tmp_path, ensembles, panel, repository):
        step = Step("quantising the ranker", "ranker", repository / "ranker/1/model.onnx")
        record = run(tmp_path, ensembles, panel, step)
        assert record["queries"] == 2
        for stage in ("ranked", "deep"):
            assert record[stage]["difference"] == 0
            assert record[stage]["tau@10"] == pytest.approx(1)

    def test_names_the_step_that_lost_it(self, tmp_path, ensembles, panel, repository):
        harmless = Step("distilling the encoder", "encoder", repository / "encoder/1/model.onnx")
        harmful = Step("quantising the ranker", "ranker", ranker(tmp_path, "scores = Neg (right)"))
        with pytest.raises(ArtefactError, match=r"^quantising the ranker loses 1\.0000 nDCG@10 of ranked .*--budget"):
            run(tmp_path, ensembles, panel, harmless, harmful)
        assert not (tmp_path / "gate.json").exists()

    def test_a_greater_budget_lets_more_through(self, tmp_path, ensembles, panel):
        harmful = Step("quantising the ranker", "ranker", ranker(tmp_path, "scores = Neg (right)"))
        assert run(tmp_path, ensembles, panel, harmful, budget=1.0)["ranked"]["difference"] < -0.5

    def test_a_later_step_that_mends_it_counts(self, tmp_path, ensembles, panel, repository):
        harmful = Step("pruning the ranker", "ranker", ranker(tmp_path, "scores = Neg (right)"))
        mended = Step("distilling the ranker", "ranker", repository / "ranker/1/model.onnx")
        assert run(tmp_path, ensembles, panel, harmful, mended)["ranked"]["difference"] == 0

    def test_a_network_that_says_the_same_of_everything_is_refused(self, tmp_path, ensembles, panel):
        constant = Step("quantising the ranker", "ranker", ranker(tmp_path, "scores = Sub (right, right)"))
        with pytest.raises(ArtefactError, match="ranker gives the same score to every product"):
            run(tmp_path, ensembles, panel, constant, budget=1.0)

    def test_a_step_of_the_cross_encoder_counts_for_deep_alone(self, tmp_path, ensembles, panel):
        reader = tmp_path / "reader.onnx"
        text = tiny.CROSS_ENCODER.replace("top = Add (first, offset)", "top = Sub (offset, first)")
        onnx.save(onnx.parser.parse_model(text), reader)
        record = run(tmp_path, ensembles, panel, Step("x", "cross_encoder", reader), budget=1.0)
        assert record["ranked"]["difference"] == 0
        assert record["deep"]["difference"] != 0 or record["deep"]["tau@10"] < 1


class TestComparing:
    def test_is_paired(self):
        before, after = Verdict([], np.array([0.2, 0.9, 0.5])), Verdict([], np.array([0.3, 1.0, 0.6]))
        found = compared(before, after)
        assert found["difference"] == pytest.approx(0.1)
        assert (found["low"], found["high"]) == pytest.approx((0.1, 0.1))

    def test_has_an_interval_around_the_mean(self):
        before, after = Verdict([], np.zeros(40)), Verdict([], np.random.default_rng(0).normal(0.1, 0.2, 40))
        found = compared(before, after)
        assert found["low"] < found["difference"] < found["high"]

    def test_tau_sees_the_order_and_what_is_missing(self):
        reference = [(np.arange(12), np.arange(12.0)[::-1])]
        assert tau(reference, reference) == pytest.approx(1)
        assert tau(reference, [(np.arange(12)[::-1], np.arange(12.0)[::-1])]) == pytest.approx(-1)
        assert 0 < tau(reference, [(np.arange(5), np.arange(5.0)[::-1])]) < 1
