"""Mined products are found for their query, none of them is right or nearly so, and training takes them as worse."""

import io

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import BertConfig, BertModel

from build.data.examples import Example
from build.settings import EncoderSettings, Training
from build.training import negatives
from build.training.encoder import epoch
from build.training.models import Encoder
from build.training.negatives import mined
from shelfbridge.catalogue import Catalogue
from shelfbridge.wordpieces import WordPieces
from tests.functional import tiny

RIGHT = {"red tent": frozenset({0, 1}), "blue lamp": frozenset({5})}


@pytest.fixture(scope="module")
def catalogue():
    return Catalogue(tuple(tiny.catalogue()[:40]))


@pytest.fixture(scope="module")
def given(tmp_path_factory, catalogue):
    """An encoder of random weights, and how it cuts words."""
    folder = tmp_path_factory.mktemp("base")
    words = tiny.make_tokenizer(list(catalogue.products))
    words.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=words.get_vocab_size(), initializer_range=0.5, **shape)).save_pretrained(folder)
    return Encoder(str(folder)), WordPieces(folder / "tokenizer.json")


def mine(given, catalogue, count=8):
    return mined(*given, catalogue, RIGHT, count=count, tokens=32, console=Console(file=io.StringIO()))


def test_what_is_right_or_nearly_so_is_not_mined(given, catalogue, monkeypatch):
    found = mine(given, catalogue)
    assert found.keys() == RIGHT.keys()
    assert all(0 < len(rows) <= 8 and not RIGHT[query] & set(rows) for query, rows in found.items())
    monkeypatch.setattr(negatives, "MARGIN", -2.0)
    assert not any(mine(given, catalogue).values())


def test_the_first_by_words_and_vectors_come_first(given, catalogue, monkeypatch):
    monkeypatch.setattr(negatives, "MARGIN", 2.0)
    few, many = mine(given, catalogue, 2), mine(given, catalogue, 30)
    assert all(many[query][:2] == rows for query, rows in few.items())
    held = [{"red", "tent"} & set(catalogue.products[row].full_text.lower().split()) for row in many["red tent"]]
    assert np.mean([bool(one) for one in held[:5]]) >= np.mean([bool(one) for one in held])


def test_a_query_without_a_product_judged_worse_learns_from_mined_ones(catalogue):
    judged = [Example("red tent", (0, 1), (1.0, 1.0))]
    chosen = EncoderSettings(Training(epochs=1, batch=4, learning_rate=0.0), judged=10, synthetic=4)
    with_mined = [e for batch in epoch(judged, catalogue, chosen, 0, {"red tent": (7, 9)}) for e in batch]
    ours = [example for example in with_mined if example.query == "red tent"]
    assert sorted(example.rows[0] for example in ours) == [0, 1]
    assert {example.rows[1] for example in ours} <= {7, 9}
    without = [e for batch in epoch(judged, catalogue, chosen, 0) for e in batch]
    assert "red tent" not in {example.query for example in without}
