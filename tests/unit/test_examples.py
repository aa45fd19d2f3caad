"""A batch holds no product against a query that it is right for, and samples are drawn."""

import random

import torch

from build.data.examples import Example, batches, drawn, right, synthetic, unlabelled
from build.settings import CrossEncoderSettings, Training
from build.training.cross_encoder import epoch
from build.training.encoder import false_negatives
from shelfbridge.catalogue import Catalogue, Product
from shelfbridge.text import check_query
from tests.functional import tiny


def test_what_is_judged_right_for_a_query_is_not_its_negative():
    """Row 1 is right for both lamps; row 9, judged worse for the first, is right for the second."""
    judged = [Example("lamp", (0, 1, 9), (1.0, 1.0, 0.0)), Example("desk lamp", (1, 9, 3), (1.0, 1.0, 0.01))]
    batch = [Example("lamp", (0, 9), (1.0, 0.0)), Example("desk lamp", (1, 3), (1.0, 0.01))]
    masked = false_negatives(batch, right(judged))
    assert masked.tolist() == [[False, True, False, False], [False, False, True, False]]


def test_the_same_product_as_that_of_a_made_query_is_not_its_negative():
    batch = [Example("a made one", (5, 2), (1.0, 0.0)), Example("another", (6, 5), (1.0, 0.0))]
    assert torch.equal(false_negatives(batch, {}).nonzero(), torch.tensor([[0, 3]]))


def test_a_batch_has_no_query_and_no_right_product_twice():
    some = [Example(f"q{number % 7}", (number % 11, 99), (1.0, 0.0)) for number in range(60)]
    made = list(batches(some, 6, random.Random(0)))
    assert sorted(repr(one) for batch in made for one in batch) == sorted(map(repr, some))
    for batch in made:
        assert len(batch) <= 6
        assert len({one.query for one in batch}) == len({one.rows[0] for one in batch}) == len(batch)


def test_a_product_with_all_words_of_a_made_query_is_not_held_against_it():
    catalogue = Catalogue(tuple(tiny.catalogue()))
    for example in synthetic(catalogue, 200, seed=1):
        other = catalogue.products[example.rows[1]].full_text.lower().split()
        assert not set(example.query.split()) <= set(other)


def test_a_sample_is_drawn_from_all_in_order_and_is_the_same_each_time():
    some = drawn(range(1000), 50, seed=1)
    assert some == sorted(some) == drawn(range(1000), 50, seed=1)
    assert max(some) > 900
    assert drawn("abc", 5, seed=1) == ["a", "b", "c"]


def test_a_random_product_that_is_right_is_not_taught_as_wrong():
    catalogue = Catalogue(tuple(tiny.catalogue()[:4]))
    judged = [Example("everything but the last", (0, 1, 2, 3), (1.0, 1.0, 1.0, 0.1))] * 10
    chosen = CrossEncoderSettings(Training(epochs=1, batch=8, learning_rate=0.0), judged=40, synthetic=0)
    pairs = [
        pair
        for number in range(5)
        for batch in epoch(number, train_set=judged, products=None, abroad=[], catalogue=catalogue, chosen=chosen)
        for pair in batch
    ]
    assert any((pair.row, pair.gain) == (3, 0.0) for pair in pairs)
    assert all(pair.gain == 1.0 for pair in pairs if pair.row < 3)


def test_made_queries_are_such_as_a_server_answers():
    """A script without blanks, an address, a picture within the text, a capital that is two small letters."""
    texts = ("ผ้าใบกันน้ำ" * 100, "https://shop/" + "a" * 900, "İ" * 512, "\U0001f3b8", "红色帐篷" * 200)
    products = (Product(product_id=str(row), title=text, description=text) for row, text in enumerate(texts))
    catalogue = Catalogue(tuple(products))
    made = unlabelled(catalogue, (), 300, seed=1)
    made += [one.query for one in synthetic(catalogue, 5, seed=1)]
    assert [check_query(text.encode()) for text in made]
    assert max(map(len, made)) == 512
