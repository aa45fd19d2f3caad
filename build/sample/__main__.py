"""`python -m build.sample --out DIR`: writes the sample and says what is in it."""

import argparse
import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from build.sample import make_sample
from build.sample.shoppers import Purchase
from shelfbridge.catalogue import Judgment, Product


def write(folder: Path, products: list[Product], judgments: list[Judgment], purchases: Sequence[Purchase] = ()) -> None:
    """`products.jsonl` and `judgments.tsv`, as `shelfbridge.catalogue` reads them, and `interactions.jsonl`, as
    `build.shelf` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "products.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(product.model_dump_json() + "\n" for product in products)
    with (folder / "judgments.tsv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, list(Judgment.model_fields), delimiter="\t", lineterminator="\n")
        rows.writeheader()
        rows.writerows(judgment.model_dump() for judgment in judgments)
    with (folder / "interactions.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(asdict(purchase)) + "\n" for purchase in purchases)


def describe(products: list[Product], judgments: list[Judgment], purchases: Sequence[Purchase]) -> list[Table]:
    """What the sample holds, as tables: products by department; queries and labels by kind; purchases."""
    shelves = Table("department", "products", "types", title="Products")
    departments = Counter(product.category[0] for product in products)
    for department, count in sorted(departments.items()):
        types = {product.category for product in products if product.category[0] == department}
        shelves.add_row(department, str(count), str(len(types)))
    shelves.add_row("all", str(len(products)), str(len({product.category for product in products})), style="bold")

    columns = ("train", "dev", "test", "E", "S", "C", "I")
    kinds = Table("kind", *columns, title="Queries by split, judgments by label")
    queries = {(_kind(row), row.query_id, row.split) for row in judgments}
    counts = Counter((kind, str(split)) for kind, _, split in queries)
    counts.update((_kind(row), row.label.value) for row in judgments)
    names = list(dict.fromkeys(kind for kind, _ in counts))
    for kind in sorted(names):
        kinds.add_row(kind, *(str(counts[kind, column]) for column in columns))
    totals = (str(sum(counts[kind, column] for kind in names)) for column in columns)
    kinds.add_row("all", *totals, style="bold")

    pairs = Counter((purchase.user, purchase.product_id) for purchase in purchases)
    bought = Table("shoppers", "baskets", "purchases", "bought again", "never sold", title="Shoppers")
    bought.add_row(
        str(len({purchase.user for purchase in purchases})),
        str(len({purchase.basket for purchase in purchases})),
        str(len(purchases)),
        f"{1 - len(pairs) / max(1, len(purchases)):.0%}",
        str(len({product.product_id for product in products} - {name for _, name in pairs})),
    )
    return [shelves, kinds, bought]


def _kind(row: Judgment) -> str:
    return row.query_id.rpartition("-")[0]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m build.sample", description="Write the project's sample data.")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for products.jsonl, judgments.tsv and interactions.jsonl"
    )
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same files (default 7)")
    parser.add_argument("--products", type=int, default=3200, help="how many products (default 3200)")
    options = parser.parse_args()
    sample = make_sample(options.seed, options.products)
    products = [item.product for item in sample.items]
    write(options.out, products, sample.judgments, sample.purchases)
    Console().print(*describe(products, sample.judgments, sample.purchases))


if __name__ == "__main__":
    main()
