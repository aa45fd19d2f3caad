"""Write the project's sample data, and say what is in it."""

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markdown import Markdown

from build.sample import Sample, make_sample
from shelfbridge import program
from shelfbridge.measure.report import Table, markdown


def describe(sample: Sample) -> str:
    """What the sample holds, as tables: products by department; queries and labels by kind; purchases."""
    shelves = pd.DataFrame(
        [(one.category[0], one.category) for one in sample.products], columns=["department", "types"]
    )
    shelves = shelves.groupby("department")["types"].agg(products="size", types="nunique")
    rows = [(row.query_id.rpartition("-")[0], row.query_id, row.split, str(row.label)) for row in sample.judgments]
    judged = pd.DataFrame(rows, columns=["kind", "query", "split", "label"])
    queries = judged.drop_duplicates("query")
    kinds = pd.crosstab(queries["kind"], queries["split"]).join(pd.crosstab(judged["kind"], judged["label"]))
    bought = pd.DataFrame(sample.purchases)
    different = len(bought.drop_duplicates(["user", "product_id"]))
    shoppers = {
        "shoppers": str(bought["user"].nunique()),
        "baskets": str(bought["basket"].nunique()),
        "purchases": str(len(bought)),
        "bought again": f"{1 - different / len(bought):.0%}",
        "never sold": str(len(sample.items) - bought["product_id"].nunique()),
    }
    return markdown(
        [
            _table(shelves, "Products"),
            _table(kinds[["train", "dev", "test", "E", "S", "C", "I"]], "Queries by split, judgments by label"),
            Table(list(shoppers), [list(shoppers.values())], "Shoppers"),
        ]
    )


def _table(counts: pd.DataFrame, title: str) -> Table:
    """The counts with a last row of their sums."""
    rows = [[name, *map(str, row)] for name, *row in counts.itertuples()]
    return Table([counts.index.name, *counts.columns], [*rows, ["all", *map(str, counts.sum())]], title)


def main() -> None:
    """Run the command line."""
    parser = program.command_line("build.sample", __doc__ or "")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for products.jsonl, judgments.tsv and interactions.jsonl"
    )
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same files (default %(default)s)")
    parser.add_argument("--products", type=int, default=3200, help="how many products (default %(default)s)")
    options = parser.parse_args()
    sample = make_sample(options.seed, options.products)
    sample.write(options.out)
    Console().print(Markdown(describe(sample)))


if __name__ == "__main__":
    main()
