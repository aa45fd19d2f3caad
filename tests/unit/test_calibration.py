"""Calibration sees the shop's own queries and products, unpadded, and no query that compression is judged by."""

import json

import numpy as np
import pytest

from build.calibration import feeds_of, write_feeds
from build.quantise import check_feeds
from shelfbridge.catalogue import Catalogue, Judgment, Judgments
from shelfbridge.contract import CANDIDATES, MODELS, SHORTLIST
from tests.functional import tiny

QUERIES = [f"{color} {thing}" for thing in tiny.THINGS for color in tiny.COLORS]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    repository = tiny.write_repository(tmp_path_factory.mktemp("repository"))
    catalogue = Catalogue(tuple(tiny.catalogue()))
    rows = [
        Judgment(query_id=query, query=query, product_id=catalogue.products[0].product_id, label="E", split="train")
        for query in QUERIES
    ]
    folder = tmp_path_factory.mktemp("feeds")
    write_feeds(
        folder,
        tokenizer=repository / "preprocess/1",
        graph=repository / "encoder/1",
        index=repository / "retrieve/1",
        pieces=repository / "shortlist/1",
        catalogue=catalogue,
        judgments=Judgments(tuple(rows)),
    )
    return folder


@pytest.mark.parametrize("network", ["encoder", "ranker", "cross_encoder"])
def test_batches_are_inputs_of_the_network_and_enough(written, network):
    feeds = feeds_of(written, network)
    check_feeds(feeds)
    assert all(set(feed) == {tensor.name for tensor in MODELS[network].inputs} for feed in feeds)


def test_queries_of_a_batch_are_equally_long(written):
    feeds = feeds_of(written, "encoder")
    assert all(feed["attention_mask"].all() for feed in feeds)
    assert sum(len(feed["input_ids"]) for feed in feeds) == 256


def test_shortlists_hold_no_padding_and_show_the_logits(written):
    for feed in feeds_of(written, "cross_encoder"):
        assert feed["pair_ids"].shape[:2] == (1, SHORTLIST)
        assert feed["pair_mask"].all()
        assert not feed["sorted_scores"].any()
        assert feed["sorted_scores"].shape == (1, CANDIDATES)
        assert set(np.unique(feed["pair_types"])) == {0, 1}


def test_lengths_are_those_of_the_shop(written):
    lengths = json.loads((written / "lengths.json").read_text())
    assert set(lengths) == {"query", "product", "pair"}
    assert sum(lengths["query"].values()) == len(QUERIES)
    assert sum(lengths["product"].values()) == len(tiny.catalogue())
    assert list(map(int, lengths["query"])) == sorted(map(int, lengths["query"]))
