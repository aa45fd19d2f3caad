"""Students come nearer to their teachers, keep their words, and read no other tokenizer than their own."""

import io
import json

import numpy as np
import pytest
import torch
from pydantic_core import to_json
from rich.console import Console
from transformers import BertConfig, BertModel

from build.data.examples import unlabelled
from build.settings import Training
from build.training.distil import distil_cross_encoder, distil_encoder
from build.training.models import CrossEncoder, Encoder
from build.training.narrow import Shape, shape_of
from build.training.opinions import Opinion, read
from build.training.prune import prune_cross_encoder, prune_encoder
from build.training.tokenizer import claim, hold
from shelfbridge.catalogue import Catalogue, Judgment, Judgments, Product
from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval import ProductPairs
from shelfbridge.wordpieces import WordPieces
from tests.functional import tiny

QUIET = Console(file=io.StringIO())
SHAPE = Shape(1, 2, 32)
TRAINING = Training(epochs=3, batch=16, learning_rate=3e-3)


@pytest.fixture(scope="module")
def catalogue():
    return Catalogue(tuple(tiny.catalogue()[:60]))


@pytest.fixture(scope="module")
def judgments(catalogue):
    return Judgments(
        tuple(
            Judgment(query_id=query, query=query, product_id=product.product_id, label=label, split=split)
            for split, query in (("train", "red tent"), ("dev", "blue lamp"))
            for product, label in zip(catalogue.products[:24], "EI" * 12, strict=True)
        )
    )


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory, catalogue):
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.make_tokenizer(list(catalogue.products)).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def pieces(tmp_path_factory, catalogue, tokenizer):
    folder = tmp_path_factory.mktemp("pieces")
    words = WordPieces(tokenizer / "tokenizer.json")
    ProductPairs.write(folder, words.pieces([product.full_text for product in catalogue.products]))
    return folder


@pytest.fixture(scope="module")
def teachers(tmp_path_factory, tokenizer):
    """Folders of a small encoder and a small cross-encoder of random weights, by kind."""
    folder = tmp_path_factory.mktemp("teachers")
    torch.manual_seed(0)
    words = len(json.loads((tokenizer / "tokenizer.json").read_text())["model"]["vocab"])
    config = BertConfig(
        vocab_size=words,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder / "base")
    for kind in (Encoder, CrossEncoder):
        torch.manual_seed(0)
        network = kind(str(folder / "base"))
        claim(network.trunk, tokenizer)
        (folder / kind.__name__).mkdir()
        network.save(folder / kind.__name__)
    return {kind: folder / kind.__name__ for kind in (Encoder, CrossEncoder)}


@pytest.fixture(scope="module")
def shop(tokenizer, catalogue, judgments):
    return {"tokenizer": tokenizer, "catalogue": catalogue, "judgments": judgments}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory, teachers, pieces, shop):
    """Folders of what is left of both, by kind."""
    folder = tmp_path_factory.mktemp("pruned")
    more = {**shop, "shape": SHAPE}
    (folder / "encoder").mkdir()
    (folder / "reader").mkdir()
    prune_encoder(folder / "encoder", model=teachers[Encoder], **more)
    prune_cross_encoder(folder / "reader", model=teachers[CrossEncoder], pieces=pieces, **more)
    return {Encoder: folder / "encoder", CrossEncoder: folder / "reader"}


def vectors(folder, tokenizer, texts):
    ids, mask = (torch.from_numpy(array) for array in WordPieces(tokenizer / "tokenizer.json").queries(texts))
    with torch.inference_mode():
        return Encoder.load(folder)(ids, mask)[0]


def test_pruning_leaves_the_shape(pruned):
    assert shape_of(Encoder.load(pruned[Encoder]).trunk) == SHAPE
    assert shape_of(CrossEncoder.load(pruned[CrossEncoder]).trunk) == SHAPE


def test_an_encoder_comes_nearer_to_its_teacher(tmp_path, teachers, pruned, tokenizer, shop):
    distil_encoder(
        tmp_path,
        teacher=teachers[Encoder],
        student=pruned[Encoder],
        **shop,
        texts=160,
        training=TRAINING,
        console=QUIET,
    )
    texts = ["white coffee mug", "corvo rain jacket 3", "green running shoes"]
    wanted = vectors(teachers[Encoder], tokenizer, texts)
    before, after = ((vectors(f, tokenizer, texts) * wanted).sum(-1).mean() for f in (pruned[Encoder], tmp_path))
    assert after > before + 0.05
    words = [Encoder.load(f).trunk.embeddings.word_embeddings.weight for f in (teachers[Encoder], tmp_path)]
    assert torch.equal(*words)


def test_a_cross_encoder_comes_nearer_to_its_teacher(tmp_path, teachers, pruned, tokenizer, pieces):
    words, products = WordPieces(tokenizer / "tokenizer.json"), ProductPairs.open(pieces)
    teacher = CrossEncoder.load(teachers[CrossEncoder])
    rows = np.arange(24, dtype=np.int32)

    def logits(network, query):
        ids, types, mask = (torch.from_numpy(a) for a in products.pair(words.queries([query])[0][0], rows))
        with torch.inference_mode():
            return network(ids, mask, types).numpy()

    queries = ["red tent", "blue lamp", "green hose", "white mug"]
    for name, some in (("train", queries), ("unseen", ["blue tent"])):
        opinions = [Opinion(query, rows.tolist(), logits(teacher, query).tolist()) for query in some]
        (tmp_path / f"{name}.json").write_bytes(to_json(opinions))
    np.testing.assert_allclose(read(tmp_path / "train.json")[1].logits, logits(teacher, "blue lamp"), rtol=1e-5)
    distil_cross_encoder(
        tmp_path,
        opinions=tmp_path,
        student=pruned[CrossEncoder],
        tokenizer=tokenizer,
        pieces=pieces,
        training=TRAINING,
        console=QUIET,
    )
    wanted = logits(teacher, "blue tent")
    before, after = (
        np.corrcoef(logits(CrossEncoder.load(f), "blue tent"), wanted)[0, 1] for f in (pruned[CrossEncoder], tmp_path)
    )
    assert after > before


def test_a_model_of_another_tokenizer_is_refused(tmp_path, teachers, tokenizer):
    network = Encoder.load(teachers[Encoder])
    hold(network.trunk, tokenizer, teachers[Encoder])
    content = json.loads((tokenizer / "tokenizer.json").read_text())
    first, second, *_ = [piece for piece in content["model"]["vocab"] if piece not in tiny.SPECIALS]
    vocabulary = content["model"]["vocab"]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match=r"trained on another tokenizer .*give it the tokenizer of its own build"):
        hold(network.trunk, tmp_path, teachers[Encoder])


def test_unlabelled_texts_are_short_pieces_of_the_shop(catalogue):
    texts = unlabelled(catalogue, ["own query"], 50, seed=1)
    assert texts == unlabelled(catalogue, ["own query"], 50, seed=1)
    assert texts[0] == "own query"
    assert len(texts) == 51
    known = {word for product in catalogue.products for word in product.full_text.lower().split()}
    chinese = Catalogue((Product(product_id="1", title="红色跑步鞋防滑透气轻便运动鞋男女通用夏季新款"),))
    cut = unlabelled(chinese, (), 40, seed=1)
    assert all(len(text) <= 16 and " " not in text for text in cut)
    assert len({len(text) for text in cut}) > 3
    assert all(set(text.split()) <= known and 1 <= len(text.split()) <= 8 for text in texts[1:])
