"""What compression costs is measured by what shoppers see, and what costs too much is refused by name."""

import io
from dataclasses import replace

import numpy as np
import onnx
import pytest
from rich.console import Console

from build.evaluation.offline import Ensembles
from build.evaluation.panel import Panel, Verdict, check_scores, held_back, tau, to_learn_from
from build.release.gate import Decision, Gate, compared, read, write
from build.release.gate import judged as passes
from build.settings import Compression
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
        graph=repository / "encoder/1",
        index=repository / "retrieve/1",
        ranker_graph=repository / "ranker/1",
        pieces=repository / "shortlist/1",
        reader_graph=repository / "cross_encoder/1",
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


def run(ensembles, panel, network, graph, *, margin: float = 0.005) -> Decision:
    return Gate(ensembles, panel, Compression(budget=margin), QUIET).decide("the candidate", network, graph)


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

    @pytest.mark.parametrize("train", [0, 60])
    def test_is_drawn_and_is_not_the_first_rows_of_a_file(self, panel, train):
        rows = tuple(
            row.model_copy(update={"query_id": f"{split}{number}", "query": f"{number} {split}", "split": split})
            for split, count in (("dev", 400), ("train", train))
            for number in range(count)
            for row in judged(panel.catalogue).rows[:1]
        )
        for some in (
            Panel.of(panel.catalogue, Judgments(rows), 60),
            *Panel.apart(panel.catalogue, Judgments(rows), 60),
        ):
            drawn = [int(one.removeprefix("dev")) for one in some.judgments.queries if one.startswith("dev")]
            assert not drawn or max(drawn) > 200

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
            check_scores([np.array(scores)] * 2, [np.array(scores)] * 2, "ranker")

    def test_of_a_single_candidate_are_fine(self, panel):
        panel.check([(np.array([3]), np.array([1.0]))], "ranker")

    def test_of_products_that_say_the_same_are_fine(self, panel):
        """As of a shirt in twenty sizes, where the size is no part of its text."""
        one = panel.catalogue.products[0]
        same = tuple(one.model_copy(update={"product_id": f"size-{size}"}) for size in range(3))
        shop = replace(panel, catalogue=Catalogue((*same, *panel.catalogue.products)))
        flat = (np.arange(3), np.array([0.5, 0.5, 0.5]))
        shop.check([flat], "cross_encoder")
        shop.check([flat, (np.array([0, 5]), np.array([0.5, 0.25]))], "cross_encoder")
        with pytest.raises(ArtefactError, match="cross_encoder gives the same score to every product"):
            shop.check([flat, (np.array([0, 5]), np.array([0.5, 0.5]))], "cross_encoder")

    def test_of_one_query_that_are_all_the_same_do_not_condemn_a_network(self, panel):
        """Long texts that differ behind what a network reads of them."""
        rows = np.array([0, 5])
        panel.check([(rows, np.array([0.5, 0.5])), (rows, np.array([0.5, 0.25]))], "ranker")


class TestDeciding:
    def test_lets_through_what_loses_nothing(self, ensembles, panel, repository):
        found = run(ensembles, panel, "encoder", repository / "encoder/1/model.onnx")
        assert found.passed
        assert found.figures["queries"] == len(panel.judgments.queries)
        assert found.figures["difference"] == 0
        assert found.figures["tau@10"] == pytest.approx(1)

    def test_says_plainly_that_the_same_queries_chose(self, ensembles, panel, repository):
        found = run(ensembles, replace(panel, chose=True), "encoder", repository / "encoder/1/model.onnx")
        assert found.figures["chose_too"]
        assert found.reason.endswith("; the same queries chose its form, as they are too few to part")
        assert "same queries" not in run(ensembles, panel, "encoder", repository / "encoder/1/model.onnx").reason

    def test_a_cross_encoder_is_judged_by_search_deep(self, tmp_path, ensembles, panel):
        reader = tmp_path / "reader.onnx"
        text = tiny.CROSS_ENCODER.replace("top = Add (first, offset)", "top = Sub (offset, first)")
        onnx.save(onnx.parser.parse_model(text), reader)
        found = run(ensembles, panel, "cross_encoder", reader, margin=1.0)
        assert found.figures["difference"] != 0 or found.figures["tau@10"] < 1

    def test_what_is_written_is_read_with_its_figures(self, tmp_path):
        write(tmp_path, {"the candidate": Decision(False, "inferior", {"difference": -0.1})})
        assert read(tmp_path) == {"the candidate": {"passed": False, "reason": "inferior", "difference": -0.1}}
        assert read(tmp_path / "elsewhere") == {}

    def test_does_not_let_through_what_loses_more_than_the_margin(self, tmp_path, ensembles, panel):
        harmful = ranker(tmp_path, "scores = Neg (right)")
        found = run(ensembles, panel, "ranker", harmful)
        assert not found.passed
        assert found.reason.startswith("inferior (within 0.005: -1.0")

    def test_a_greater_margin_lets_more_through(self, tmp_path, ensembles, panel):
        found = run(ensembles, panel, "ranker", ranker(tmp_path, "scores = Neg (right)"), margin=1.0)
        assert found.passed
        assert found.figures["difference"] < -0.5

    def test_a_network_that_says_the_same_of_everything_does_not_pass(self, tmp_path, ensembles, panel):
        constant = ranker(tmp_path, "scores = Sub (right, right)")
        found = run(ensembles, panel, "ranker", constant, margin=1.0)
        assert (found.passed, found.reason[:45]) == (False, "ranker gives the same score to every product;")

    def test_a_cross_encoder_that_says_the_same_of_everything_does_not_pass(self, tmp_path, ensembles, panel):
        said = "lost = Sub (values, values)\n    offset = Add (lost, lifted)"
        text = tiny.CROSS_ENCODER.replace("offset = Add (values, lifted)", said)
        reader = tmp_path / "reader.onnx"
        onnx.save(onnx.parser.parse_model(text), reader)
        found = run(ensembles, panel, "cross_encoder", reader, margin=1.0)
        assert not found.passed
        assert found.reason.startswith("cross_encoder gives the same score to every product")

    def test_originals_that_say_the_same_of_everything_are_refused(self, tmp_path, ensembles, panel):
        constant = ensembles.with_networks({"ranker": ranker(tmp_path, "scores = Sub (right, right)")})
        with pytest.raises(ArtefactError, match="ranker gives the same score to every product"):
            run(constant, panel, "ranker", tmp_path / "ranker.onnx")


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
        backwards = ranker(tmp_path, "scores = Neg (right)")
        found = Gate(ensembles, panel, Compression(), QUIET).stages({"ranker": backwards})
        assert (found.passed, found.figures["worse"]) == (False, ["ranked"])
        assert found.figures["ranked"]["over fused"]["verdict"] == "worse"

    def test_every_stage_is_held_against_the_one_before(self, ensembles, panel):
        found = Gate(ensembles, panel, Compression(), QUIET).stages()
        rows = {name: row for name, row in found.figures.items() if name not in ("worse", "chose_too")}
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
