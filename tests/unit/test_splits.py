"""Every build has a test split that chooses nothing, and says how it came by it."""

import pytest

from build.data.splits import FEW, with_all_splits
from shelfbridge.catalogue import Judgment, Judgments, split_of


def judged(**counts: int) -> Judgments:
    """So many queries of each split, two products each."""
    return Judgments(
        tuple(
            Judgment(query_id=f"{split}{n}", query=f"{split} lamp {n}", product_id=product, label="E", split=split)
            for split, count in counts.items()
            for n in range(count)
            for product in ("a", "b")
        )
    )


def sizes(judgments: Judgments) -> dict[str, int]:
    return {split: len(judgments.of(split).queries) for split in ("train", "dev", "test")}


def test_named_splits_stay():
    given = judged(train=30, dev=FEW, test=5)
    assert with_all_splits(given) == (given, [])


def test_without_test_the_hash_of_the_query_sets_some_apart_of_both():
    given = judged(train=200, dev=100)
    made, said = with_all_splits(given)
    assert {row.query for row in made.of("test").rows} == {
        one for one in given.queries.values() if split_of(one) == "test"
    }
    assert sum(sizes(made).values()) == 300
    assert said == [one for one in said if one.startswith("no query is in split 'test'")]
    assert with_all_splits(given)[0] == made


@pytest.mark.parametrize("count", [3, 4, 7, 30])
def test_of_few_queries_each_split_has_one(count):
    made, said = with_all_splits(judged(train=count))
    assert min(sizes(made).values()) >= 1
    assert any(line.startswith("dev has") for line in said)


def test_of_too_few_none_is_taken_and_that_is_told():
    made, said = with_all_splits(judged(train=1))
    assert sizes(made) == {"train": 1, "dev": 0, "test": 0}
    assert [line for line in said if "judge more queries" in line]


def test_a_query_that_is_written_in_two_ways_is_in_one_split():
    rows = (("1", "Tent"), ("2", "tent"), ("3", "lamp"))
    given = Judgments(
        tuple(Judgment(query_id=one, query=text, product_id="a", label="E", split="train") for one, text in rows)
    )
    made, _ = with_all_splits(given)
    assert len({row.split for row in made.rows if row.query.casefold() == "tent"}) == 1
