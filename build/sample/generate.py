"""One sample from one seed: products, queries, judgments, and what shoppers bought."""

from dataclasses import dataclass
from random import Random

from build.sample.judge import Judge, split_queries
from build.sample.products import Item, make_items
from build.sample.queries import Query, make_queries
from build.sample.shoppers import Purchase, make_purchases
from build.sample.vocabulary import load
from shelfbridge.catalogue import Judgment, Product

QUERIES = {
    "attribute": 105,
    "use": 90,
    "brand": 80,
    "misspelt": 75,
    "negated": 90,
    "number": 85,
    "paraphrase": 80,
    "broad": 45,
    "chinese": 55,
}
"""How many queries of each kind; a kind is the first part of its query ids ("negated-012")."""


@dataclass(frozen=True)
class Sample:
    """A generated shop. `queries` are by query id."""

    items: list[Item]
    queries: dict[str, Query]
    judgments: list[Judgment]
    purchases: list[Purchase]


def make_sample(seed: int, products: int) -> Sample:
    """The sample of a seed, with the facts behind it. The same on every machine and in every process."""
    rng = Random(seed)
    words = load()
    items = make_items(rng, words, products)
    queries = make_queries(rng, words, items, QUERIES)
    splits = split_queries(rng, queries)
    judge = Judge(rng, words, items)
    named: dict[str, Query] = {}
    judgments: list[Judgment] = []
    numbers = dict.fromkeys(QUERIES, 0)
    for query, split in zip(queries, splits, strict=True):
        numbers[query.kind] += 1
        query_id = f"{query.kind}-{numbers[query.kind]:03}"
        named[query_id] = query
        judgments.extend(judge.judge(query_id, query, split))
    return Sample(items, named, judgments, make_purchases(seed, words, items))


def generate(seed: int = 7, products: int = 3200) -> tuple[list[Product], list[Judgment]]:
    """Products and judgments of a seed."""
    sample = make_sample(seed, products)
    return [item.product for item in sample.items], sample.judgments
