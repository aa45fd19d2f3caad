"""What compression costs is measured by what shoppers see, and what costs too much is refused by name."""

import io
import json

import numpy as np
import onnx
import pytest
from rich.console import Console

from build.gate import Step, compared, gate
from build.offline import Ensembles
from build.panel import Panel, Verdict, check_scores, held_back, tau, to_learn_from
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
    return Panel.of(catalogue, judged(catalogue), most=100)


def judged(catalogue):
    """A query of dev, one of test, and every colour of a thing for train."""
    queries = [("dev", "red camping tent"), ("test", "green garden hose")]
    queries += [("train", f"{color} {thing}") for thing in tiny.THINGS for color in tiny.COLORS]
    return Judgments(
        tuple(
            Judgment(query_id=f"{split}-{query}", query=query, product_id=product.product_id, label="E", split=split)
            for split, query in queries
            for product in catalogue.products
            if product.title.startswith(query)
        )
    )


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
    def test_holds_dev_first_then_the_training_queries_that_nothing_learns_from(self, panel):
        shop = judged(panel.catalogue)
        assert panel.dev == 1
        first, *others = panel.judgments.queries
        assert first == "dev-red camping tent"
        assert set(others) == held_back(shop)
        assert 5 <= len(others) <= 18
        learnt = set(to_learn_from(shop).queries)
        assert learnt.isdisjoint(others)
        assert learnt | set(others) == set(shop.queries)

    def test_is_cut_at_the_most(self, panel):
        assert len(Panel.of(panel.catalogue, judged(panel.catalogue), most=1).judgments.queries) == 1

    @pytest.mark.parametrize("dev", [0, 5, 30, 150, 400])
    @pytest.mark.parametrize("train", [0, 60, 900])
    def test_no_query_judges_what_it_chose(self, panel, dev, train):
        """Of 150 dev queries and more, the same ones once did both."""
        product = panel.catalogue.products[0].product_id
        rows = tuple(
            Judgment(query_id=f"{split}{number}", query=f"{number} {split}", product_id=product, label="E", split=split)
            for split, count in (("dev", dev), ("train", train))
            for number in range(count)
        )
        chooses, judges = Panel.apart(panel.catalogue, Judgments(rows), most=150)
        one, other = (set(some.judgments.queries) for some in (chooses, judges))
        learnt = set(to_learn_from(Judgments(rows)).of("train").queries)
        assert learnt.isdisjoint(one | other)
        assert max(len(one), len(other)) <= 150
        assert judges.chose == bool(one & other) or not one  # of no query at all, none judges
        assert not chooses.chose
        if dev >= 30 or train == 900:
            assert not judges.chose
            assert min(len(one), len(other)) >= 10
        if dev >= 30 and train:
            assert (chooses.dev, judges.dev) == (0, min(dev, 150))

    def test_rankings_are_worth_what_their_products_are(self, panel, ensembles):
        verdict = panel.judge(ensembles, "ranked", QUIET)
        assert verdict.ndcg == pytest.approx(np.ones(len(panel.judgments.queries)))
        backwards = [(rows[::-1], scores) for rows, scores in verdict.rankings]
        assert panel.verdict(backwards).ndcg.max() < 0.7
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
        assert record["queries"] == len(panel.judgments.queries)
        for stage in ("ranked", "deep"):
            assert record[stage]["difference"] == 0
            assert record[stage]["tau@10"] == pytest.approx(1)

    def test_names_the_step_that_lost_it(self, tmp_path, ensembles, panel, repository):
        harmless = Step("distilling the encoder", "encoder", repository / "encoder/1/model.onnx")
        harmful = Step("quantising the ranker", "ranker", ranker(tmp_path, "scores = Neg (right)"))
        with pytest.raises(ArtefactError, match=r"^quantising the ranker loses [01]\.\d{4} nDCG@10 of .*--budget"):
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

    def test_a_cross_encoder_that_says_the_same_of_everything_is_refused(self, tmp_path, ensembles, panel):
        said = "lost = Sub (values, values)\n    offset = Add (lost, lifted)"
        text = tiny.CROSS_ENCODER.replace("offset = Add (values, lifted)", said)
        reader = tmp_path / "reader.onnx"
        onnx.save(onnx.parser.parse_model(text), reader)
        with pytest.raises(ArtefactError, match="cross_encoder gives the same score to every product"):
            run(tmp_path, ensembles, panel, Step("quantising the cross_encoder", "cross_encoder", reader), budget=1.0)

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
