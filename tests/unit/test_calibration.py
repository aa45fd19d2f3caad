"""Calibration sees what is served of the shop's queries and products, whole, and hardly any padding."""

import json

import numpy as np
import pytest

from build.compression.calibration import SEARCHED, feeds_of, write_feeds
from build.compression.quantise import check_feeds
from build.evaluation.offline import Ensembles, deep_inputs, ranker_inputs
from shelfbridge.catalogue import Catalogue, Judgment, Judgments
from shelfbridge.contract import CANDIDATES, MODELS, SHORTLIST
from shelfbridge.lengths import BUCKET
from tests.functional import tiny

QUERIES = [f"{color} {thing}" for thing in tiny.THINGS for color in tiny.COLORS]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return tiny.write_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def searched(repository):
    """What the served steps make of a query: the ranker's inputs, and the cross-encoder's."""
    steps = Ensembles.open(
        tokenizer=repository / "preprocess/1",
        graph=repository / "encoder/1",
        index=repository / "retrieve/1",
        ranker_graph=repository / "ranker/1",
        pieces=repository / "shortlist/1",
        reader_graph=repository / "cross_encoder/1",
    )

    def search(query):
        encoded = steps.retrieval.encode(query)
        return ranker_inputs(encoded, steps.retrieval.candidates(encoded)), deep_inputs(steps.shortlist(query))

    return search


def write(repository, folder, queries):
    catalogue = Catalogue(tuple(tiny.catalogue()))
    rows = [
        Judgment(query_id=query, query=query, product_id=catalogue.products[0].product_id, label="E", split="train")
        for query in queries
    ]
    write_feeds(
        folder,
        tokenizer=repository / "preprocess/1",
        graph=repository / "encoder/1",
        index=repository / "retrieve/1",
        ranker=repository / "ranker/1",
        pieces=repository / "shortlist/1",
        catalogue=catalogue,
        judgments=Judgments(tuple(rows)),
    )
    return folder


@pytest.fixture(scope="module")
def written(repository, tmp_path_factory):
    return write(repository, tmp_path_factory.mktemp("feeds"), QUERIES)


@pytest.mark.parametrize("network", ["encoder", "ranker", "cross_encoder"])
def test_batches_are_inputs_of_the_network_and_enough(written, network):
    feeds = feeds_of(written, network)
    check_feeds(feeds)
    assert all(set(feed) == {tensor.name for tensor in MODELS[network].inputs} for feed in feeds)


def test_queries_of_a_batch_are_equally_long(written):
    feeds = feeds_of(written, "encoder")
    assert all(feed["attention_mask"].all() for feed in feeds)
    assert sum(len(feed["input_ids"]) for feed in feeds) == 256


def test_both_rankers_see_as_many_queries_as_are_meant(written, searched):
    """Queries and their candidates were once paired up to the shorter of two lists, which halved them."""
    assert len(feeds_of(written, "ranker")) == SEARCHED
    known = {pieces(*pair) for query in QUERIES for pair in pairs(searched(query)[1])}
    seen = {pieces(*pair) for feed in feeds_of(written, "cross_encoder") for pair in pairs(feed)}
    assert len({ids[: types.index(1)] for ids, types in seen & known}) >= SEARCHED


def pairs(feed):
    return zip(*(feed[name][0] for name in ("pair_ids", "pair_types", "pair_mask")), strict=True)


def pieces(ids, types, mask):
    """A pair's ids and types without its padding."""
    return tuple(ids[mask == 1].tolist()), tuple(types[mask == 1].tolist())


def test_every_pair_is_one_that_is_served_and_whole(written, searched):
    """They were once cut to the shortest of a shortlist."""
    served = {pieces(*pair) for query in QUERIES for pair in pairs(searched(query)[1])}
    seen = {pieces(*pair) for feed in feeds_of(written, "cross_encoder") for pair in pairs(feed)}
    assert seen <= served
    assert max(len(ids) for ids, _ in seen) == max(len(ids) for ids, _ in served)


def test_pairs_hold_little_padding_and_show_the_logits(written):
    feeds = feeds_of(written, "cross_encoder")
    for feed in feeds:
        assert feed["pair_ids"].shape[:2] == (1, SHORTLIST)
        assert not feed["sorted_scores"].any()
        assert feed["sorted_scores"].shape == (1, CANDIDATES)
    assert np.mean([feed["pair_mask"].mean() for feed in feeds]) > 0.95


def test_lengths_are_those_of_the_served_tensors(written, searched):
    lengths = json.loads((written / "lengths.json").read_text())
    assert set(lengths) == {"query", "candidates", "pair"}
    assert all(sum(counts.values()) == len(QUERIES) for counts in lengths.values())
    assert all(list(map(int, counts)) == sorted(map(int, counts)) for counts in lengths.values())
    assert all(int(length) % BUCKET == 0 for length in lengths["query"])
    ranked, read = zip(*map(searched, QUERIES), strict=True)
    assert set(map(int, lengths["candidates"])) == {feed["candidate_tokens"].shape[2] for feed in ranked}
    assert set(map(int, lengths["pair"])) == {feed["pair_ids"].shape[2] for feed in read}


def test_a_shop_without_judgments_is_calibrated_on_its_own_words(repository, tmp_path):
    lengths = json.loads((write(repository, tmp_path, []) / "lengths.json").read_text())
    assert all(sum(counts.values()) > len(QUERIES) for counts in lengths.values())
