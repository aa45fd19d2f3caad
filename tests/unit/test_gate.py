"""What compression costs is measured by what shoppers see, and what costs too much is refused by name."""

import io

import numpy as np
import onnx
import pytest
from rich.console import Console

from build.gate import Candidate, Decision, compared, decide, stages
from build.gate import judged as passes
from build.offline import Ensembles, session
from build.panel import Panel, Verdict, check_scores, held_back, tau, to_learn_from, with_network
from shelfbridge.catalogue import Catalogue, Judgment, Judgments
from shelfbridge.errors import ArtefactError
from shelfbridge.measure.intervals import Interval
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


def run(folder, ensembles, panel, network, graph, *, margin: float = 0.005) -> Decision:
    candidate = Candidate("the candidate", network, graph)
    decide(
        folder, candidate=candidate, originals=ensembles, served=ensembles, panel=panel, margin=margin, console=QUIET
    )
    return Decision.read(folder)


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

    def test_what_chooses_does_not_judge(self, panel):
        choosing, judging = set(panel.choosing.judgments.queries), set(panel.judging.judgments.queries)
        assert choosing.isdisjoint(judging)
        assert choosing | judging == set(panel.judgments.queries)
        assert "dev-red camping tent" in judging
        assert (panel.choosing.dev, panel.judging.dev) == (0, 1)

    def test_of_many_dev_queries_some_others_still_choose(self):
        """At 150 and more, the same queries once chose the calibration and judged it."""
        catalogue = Catalogue(tuple(tiny.catalogue()))
        rows = judged(catalogue).rows
        more = tuple(
            row.model_copy(update={"query_id": f"dev-{number}", "query": f"tent {number}", "split": "dev"})
            for number in range(300)
            for row in rows[:1]
        )
        panel = Panel.of(catalogue, Judgments((*more, *rows)), most=150)
        assert len(panel.judgments.queries) == 150
        assert len(panel.choosing.judgments.queries) >= 10
        assert set(panel.choosing.judgments.queries).isdisjoint(panel.judging.judgments.queries)
        drawn = [int(one.removeprefix("dev-")) for one in panel.judging.judgments.queries if one[4:].isdigit()]
        assert max(drawn) > 200  # not the first rows of the file

    def test_too_few_queries_do_both(self, panel):
        small = Panel.of(panel.catalogue, judged(panel.catalogue), most=4)
        assert small.choosing is small.judging is small

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


class TestDeciding:
    def test_lets_through_what_loses_nothing(self, tmp_path, ensembles, panel, repository):
        found = run(tmp_path, ensembles, panel, "encoder", repository / "encoder/1/model.onnx")
        assert found.passed
        assert found.figures["queries"] == len(panel.judgments.queries)
        assert found.figures["difference"] == 0
        assert found.figures["tau@10"] == pytest.approx(1)

    def test_does_not_let_through_what_loses_more_than_the_margin(self, tmp_path, ensembles, panel):
        harmful = ranker(tmp_path, "scores = Neg (right)")
        found = run(tmp_path, ensembles, panel, "ranker", harmful)
        assert not found.passed
        assert found.reason.startswith("inferior (within 0.005: -1.0")

    def test_a_greater_margin_lets_more_through(self, tmp_path, ensembles, panel):
        found = run(tmp_path, ensembles, panel, "ranker", ranker(tmp_path, "scores = Neg (right)"), margin=1.0)
        assert found.passed
        assert found.figures["difference"] < -0.5

    def test_a_network_that_says_the_same_of_everything_does_not_pass(self, tmp_path, ensembles, panel):
        constant = ranker(tmp_path, "scores = Sub (right, right)")
        found = run(tmp_path, ensembles, panel, "ranker", constant, margin=1.0)
        assert (found.passed, found.reason[:45]) == (False, "ranker gives the same score to every product;")

    def test_a_cross_encoder_that_says_the_same_of_everything_does_not_pass(self, tmp_path, ensembles, panel):
        said = "lost = Sub (values, values)\n    offset = Add (lost, lifted)"
        text = tiny.CROSS_ENCODER.replace("offset = Add (values, lifted)", said)
        reader = tmp_path / "reader.onnx"
        onnx.save(onnx.parser.parse_model(text), reader)
        found = run(tmp_path, ensembles, panel, "cross_encoder", reader, margin=1.0)
        assert not found.passed
        assert found.reason.startswith("cross_encoder gives the same score to every product")

    def test_originals_that_say_the_same_of_everything_are_refused(self, tmp_path, ensembles, panel):
        constant = with_network(ensembles, "ranker", session(ranker(tmp_path, "scores = Sub (right, right)")))
        with pytest.raises(ArtefactError, match="ranker gives the same score to every product"):
            run(tmp_path, constant, panel, "ranker", tmp_path / "ranker.onnx")


class TestNoise:
    """What an interval says of a margin, and what is done where it says nothing."""

    @pytest.mark.parametrize(
        ("value", "low", "high", "passed", "said"),
        [
            (-0.001, -0.004, 0.002, True, "non-inferior"),
            (-0.019, -0.030, -0.008, False, "inferior"),
            (-0.002, -0.020, 0.015, True, "cannot tell with 40 queries"),
            (-0.012, -0.030, 0.006, False, "cannot tell with 40 queries"),
        ],
    )
    def test_is_told(self, value, low, high, passed, said):
        found = passes(Interval(value, low, high, 40), 0.005)
        assert found[0] is passed
        assert found[1].startswith(said)

    def test_how_many_queries_would_tell_is_told(self):
        assert "about 1,440 queries would tell" in passes(Interval(-0.002, -0.020, 0.015, 40), 0.005)[1]


class TestStages:
    def test_a_learned_order_that_is_worse_than_the_fusions_does_not_pass(self, tmp_path, ensembles, panel):
        backwards = with_network(ensembles, "ranker", session(ranker(tmp_path, "scores = Neg (right)")))
        stages(tmp_path, served=backwards, panel=panel, console=QUIET)
        found = Decision.read(tmp_path)
        assert (found.passed, found.figures["worse"]) == (False, ["ranked"])
        assert found.figures["ranked"]["over fused"]["verdict"] == "worse"

    def test_every_stage_is_held_against_the_one_before(self, tmp_path, ensembles, panel):
        stages(tmp_path, served=ensembles, panel=panel, console=QUIET)
        found = Decision.read(tmp_path)
        rows = {name: row for name, row in found.figures.items() if name != "worse"}
        against = {name: [key for key in row if key.startswith("over")] for name, row in rows.items()}
        assert against["fused"] == ["over lexical"]
        assert against["ranked"] == ["over lexical", "over fused"]
        assert against["deep"] == ["over ranked"]


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
