"""One sample from one seed: products, queries, judgments, and what shoppers bought."""

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path
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
    """A generated shop, with the facts behind it. `queries` are by query id."""

    items: list[Item]
    queries: dict[str, Query]
    judgments: list[Judgment]
    purchases: list[Purchase]

    @property
    def products(self) -> list[Product]:
        """What is sold."""
        return [item.product for item in self.items]

    def write(self, folder: Path) -> None:
        """Write `products.jsonl` and `judgments.tsv`, as `shelfbridge.catalogue` reads them, and `interactions.jsonl`,
        as `build.shelf` does.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "products.jsonl").open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(product.model_dump_json() + "\n" for product in self.products)
        with (folder / "judgments.tsv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.DictWriter(file, list(Judgment.model_fields), delimiter="\t", lineterminator="\n")
            rows.writeheader()
            rows.writerows(judgment.model_dump() for judgment in self.judgments)
        with (folder / "interactions.jsonl").open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(asdict(purchase)) + "\n" for purchase in self.purchases)


def make_sample(seed: int, products: int) -> Sample:
    """Return the sample of a seed: the same on every machine and in every process."""
    rng, words = Random(seed), load()
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
