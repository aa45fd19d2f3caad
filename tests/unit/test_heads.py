"""The ranker's head starts from the fusion's order and leaves it only as far as the judgments can tell."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import BertConfig, BertForSequenceClassification

from build.compression.fidelity import hold
from build.data.splits import FEW
from build.evaluation.offline import Retrieval, ordered, ranker_inputs
from build.release.index import write_index, write_pieces
from build.settings import preset
from build.training.heads import choose, fit_head, lower_bound, pairs, point
from build.training.models import Ranker
from build.training.ranker import Lists, choose_head, learned, ndcgs, train
from shelfbridge.catalogue import Catalogue, Judgment, Judgments, Product
from shelfbridge.contract import CANDIDATES
from shelfbridge.errors import ArtefactError
from shelfbridge.measure.ranking import NDCG, by_place, per_query
from tests.functional import tiny

QUIET = Console(quiet=True)


def test_each_query_weighs_the_same_and_unjudged_products_less():
    worth = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.1, 0.01]])
    trust = torch.tensor([[1.0, 1.0, 0.3], [1.0, 1.0, 1.0]])
    found = pairs(worth, trust)
    for query in range(2):
        assert found.weight[found.query == query].sum() == pytest.approx(1 / 2)
    judged, unjudged = found.weight[found.query == 0].tolist()
    assert unjudged == pytest.approx(0.3 * judged)
    assert (1, 1, 2) in zip(found.query.tolist(), found.better.tolist(), found.worse.tolist(), strict=True)


def test_candidates_of_unknown_worth_make_no_pairs():
    found = pairs(torch.tensor([[1.0, torch.nan, 0.0]]), torch.ones(1, 3))
    assert (found.better.tolist(), found.worse.tolist()) == ([0], [2])


def test_the_loss_falls_as_the_better_one_rises():
    found = pairs(torch.tensor([[1.0, 0.0]]), torch.ones(1, 2))
    right, level, wrong = (found.loss(torch.tensor([scores])) for scores in ([2.0, 0.0], [0.0, 0.0], [0.0, 2.0]))
    assert right < level < wrong


def learnable(queries: int, seed: int = 0):
    """Candidates whose first feature alone says which products are right, and whose fusion knows nothing."""
    chance = torch.Generator().manual_seed(seed)
    features = torch.randn(queries, 30, len(Ranker.FEATURES), generator=chance)
    features[..., Ranker.FEATURES.index("fused")] = torch.linspace(1, 0, 30)
    gains = (features[..., 0] > 1.0).to(torch.float32)
    return features, torch.arange(30).expand(queries, 30), gains


class TestFitting:
    NOTHING = torch.full((40, 30), torch.nan)

    def fitted(self, decay: float):
        features, rows, gains = learnable(40)
        return features @ fit_head(features, rows=rows, gains=gains, opinions=self.NOTHING, teacher=0.0, decay=decay)

    def test_a_firm_hold_leaves_the_fusions_order(self):
        assert (self.fitted(1e4).argsort(dim=1, descending=True) == torch.arange(30)).all()

    def test_a_loose_hold_learns_what_the_judgments_say(self):
        gains = learnable(40)[2]
        scores = self.fitted(1e-4)
        right = torch.stack([one[row > 0].min() - one[row == 0].max() for one, row in zip(scores, gains, strict=True)])
        assert (right > 0).to(torch.float32).mean() > 0.8

    def test_without_one_judged_pair_the_order_is_the_fusions(self):
        features, rows, gains = learnable(40)
        head = fit_head(
            features, rows=rows, gains=torch.zeros_like(gains), opinions=self.NOTHING, teacher=0.0, decay=3e-4
        )
        assert ((features @ head).argsort(dim=1, descending=True) == torch.arange(30)).all()


class TestChoosing:
    def test_what_few_queries_cannot_tell_from_the_default_is_left(self):
        figures = {"fusion": np.full(8, 0.5), "learned": 0.5 + np.array([0.4, -0.3] * 4)}
        found = choose(figures, "fusion")
        assert (found.name, found.told) == ("fusion", False)
        assert found.ndcg["learned"] > found.ndcg["fusion"]

    def test_what_the_same_queries_can_tell_is_taken(self):
        found = choose({"fusion": np.full(8, 0.5), "learned": 0.5 + np.array([0.2, 0.1] * 4)}, "fusion")
        assert (found.name, found.told) == ("learned", True)

    def test_a_single_query_tells_nothing(self):
        assert choose({"fusion": np.array([0.1]), "learned": np.array([0.9])}, "fusion").name == "fusion"

    def test_an_equal_candidate_does_not_replace_the_default(self):
        assert choose({"other": np.full(9, 0.5), "fusion": np.full(9, 0.5)}, "fusion").name == "fusion"

    def test_of_few_queries_more_is_asked(self):
        few, many = (np.tile([0.25, -0.1], count // 2) for count in (FEW - 2, FEW))
        assert lower_bound(few) < 0.075 - few.std() / len(few) ** 0.5 * 1.7
        assert lower_bound(many) > 0.075 - many.std() / len(many) ** 0.5 * 1.1

    def test_the_best_of_those_that_are_told_is_taken_not_the_surest(self):
        sure, good = np.full(30, 0.51), 0.5 + np.array([0.4, -0.1] * 15)
        found = choose({"fusion": np.full(30, 0.5), "sure": sure, "good": good}, "fusion")
        assert found.name == "good"

    def test_the_bound_comes_nearer_with_more_queries(self):
        some = np.tile([0.2, 0.0], 5)
        assert lower_bound(some) < lower_bound(np.tile(some, 10)) < 0.1


def memorised(queries: int, *, known: bool, seed: int) -> Lists:
    """Candidates that the fusion orders well. Where they are known, a feature says which ones are right, by heart."""
    features, rows, gains = learnable(queries, seed)
    chance = torch.Generator().manual_seed(seed)
    gains = torch.zeros_like(gains)
    gains[:, 0] = 1.0
    gains.scatter_(1, torch.randint(1, 6, (queries, 1), generator=chance), 1.0)
    features[..., 0] = gains if known else torch.randn(gains.shape, generator=chance)
    return Lists([], features, rows, gains, [one.numpy() for one in gains])


def test_what_an_encoder_knows_by_heart_of_the_training_queries_does_not_rule_the_others():
    train_set, dev, test = (memorised(15, known=name == "train", seed=len(name)) for name in ("train", "dev", "test"))
    nothing = torch.full(train_set.rows.shape, torch.nan)
    heads = {"fusion": point("fusion"), **learned(train_set, nothing, decay=3e-4)}
    loosest = next(head for name, head in heads.items() if name != "fusion")
    fusion = ndcgs(heads["fusion"].scores(test.features), test).mean()
    assert ndcgs(loosest.scores(test.features), test).mean() < fusion - 0.2
    choice = choose_head(heads, dev)
    assert ndcgs(heads[choice.name].scores(test.features), test).mean() >= fusion


def fashion(seed: int) -> tuple[Catalogue, Judgments]:
    """Three hundred clothes, and forty cheap queries: two or three words of a title, of which that product is right."""
    chance = random.Random(seed)
    words = ("linen", "wool", "striped", "oversized", "slim", "vintage", "quilted", "ribbed", "cropped", "floral")
    things = ("shirt", "dress", "coat", "skirt", "jumper", "trousers", "scarf", "belt")
    names = ("Alder", "Bruma", "Cosima", "Dorn", "Elan")
    drawn = (
        (chance.choice(names), *chance.sample(words, 2), chance.choice(tiny.COLORS), chance.choice(things))
        for _ in range(400)
    )
    titles = list(dict.fromkeys(map(" ".join, drawn)))[:300]
    products = tuple(
        Product(product_id=f"f{place}", title=title, category=("Clothes", title.split()[-1]))
        for place, title in enumerate(titles)
    )
    rows = []
    for number, product in enumerate(chance.sample(products, 40)):
        query = " ".join(chance.sample(product.title.split(), chance.choice((2, 3))))
        split = "train" if number < 15 else "dev" if number < 23 else "test"
        judged = {product.product_id: "E"}
        for other in chance.sample(products, 10):
            judged.setdefault(other.product_id, "E" if set(query.split()) <= set(other.title.split()) else "I")
        rows += [
            Judgment(query_id=f"q{number}", query=query, product_id=one, label=label, split=split)
            for one, label in judged.items()
        ]
    return Catalogue(products), Judgments(tuple(rows))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """Folder of a small cross-encoder of random weights."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=1
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def shop(folder: Path, catalogue: Catalogue) -> dict[str, Path]:
    """Folders of the steps before the ranker, with an encoder that knows words alone."""
    tokenizer = tiny.make_tokenizer(list(catalogue.products))
    tokenizer.save(str(folder / "tokenizer.json"))
    dense, late = tiny.tables(tokenizer.get_vocab_size())
    tiny.write_model(folder / "model.onnx", tiny.ENCODER, dense=dense, late=late)
    write_pieces(folder, catalogue=catalogue, tokenizer=folder)
    write_index(
        folder / "index", catalogue=catalogue, queries=[], tokenizer=folder, graph=folder, where="faiss", console=QUIET
    )
    return {"tokenizer": folder, "graph": folder, "index": folder / "index", "pieces": folder}


def ndcg_of_stages(folder: Path, steps: dict[str, Path], catalogue: Catalogue, judgments: Judgments):
    """Mean nDCG@10 of the words alone, of the fusion and of the trained ranker."""
    ranker = Ranker.load(folder).requires_grad_(False)
    retrieval = Retrieval.open(steps["tokenizer"] / "tokenizer.json", steps["graph"] / "model.onnx", steps["index"])
    runs = {"lexical": {}, "fused": {}, "ranked": {}}
    for query_id, query in judgments.queries.items():
        encoded = retrieval.encode(query)
        found = retrieval.candidates(encoded)
        scores = ranker(*map(torch.from_numpy, ranker_inputs(encoded, found).values()))[0].numpy()
        parts = {**retrieval.parts(encoded), "ranked": ordered(found.rows, scores)}
        for name, run in runs.items():
            run[query_id] = by_place(catalogue.products[row].product_id for row in parts[name][0][:CANDIDATES])
    return {name: float(figures[NDCG].mean()) for name, figures in per_query(runs, judgments).items()}


@pytest.mark.parametrize("seed", range(3))
def test_of_forty_cheap_queries_the_order_served_is_not_worse_than_words_or_fusion(tmp_path, seed, teacher):
    catalogue, judgments = fashion(seed)
    steps = shop(tmp_path, catalogue)
    train(
        tmp_path,
        cross_encoder=teacher,
        catalogue=catalogue,
        judgments=judgments,
        settings=preset("quick"),
        console=QUIET,
        **steps,
    )
    figures = ndcg_of_stages(tmp_path, steps, catalogue, judgments.of("test"))
    assert figures["ranked"] >= max(figures["fused"], figures["lexical"]) - 0.02, figures


def test_the_points_are_the_orders_that_they_are_named_for(tmp_path):
    catalogue, judgments = fashion(0)
    steps = shop(tmp_path, catalogue)
    ranker = Ranker(1 / 127).requires_grad_(False)
    for name, stage in (("fusion", "fused"), ("BM25", "lexical")):
        ranker.head.weight.copy_(point(name).weight[None])
        ranker.save(tmp_path)
        figures = ndcg_of_stages(tmp_path, steps, catalogue, judgments)
        assert figures["ranked"] == pytest.approx(figures[stage], abs=0.01 if name == "BM25" else 1e-6)


def test_a_ranker_that_gives_the_fusions_order_to_every_query_is_told_from_a_broken_one():
    places = np.tile(21 / (21 + np.arange(100.0)), (5, 1))
    rounded = places.astype(np.float16).astype(np.float64)
    assert hold("fp16", {"scores": places}, {"scores": rounded}, 0.99)["scores"] == pytest.approx(1, abs=1e-4)
    with pytest.raises(ArtefactError, match=r"below 0\.99"):
        hold("fp16", {"scores": places}, {"scores": places[:, ::-1]}, 0.99)
    with pytest.raises(ArtefactError, match="nearly the same scores to everything"):
        hold("fp16", {"scores": places * 0 + 3}, {"scores": places}, 0.99)
