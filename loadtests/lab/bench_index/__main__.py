"""What finding candidates costs as the catalogue grows: build time, memory, recall and latency, and their exponents.

    python -m loadtests.lab.bench_index --release out/releases/current --texts products.parquet --out DIR \\
        --sizes 10000,100000,1000000

`--texts` is a catalogue, or a Parquet file whose columns are joined. Equal texts count once. They are encoded with the
release's own encoder, and the vectors kept in the folder `cache` of `--out`.

Where there are fewer texts than products, products are made from them. A made *vector* is a real one moved by a part of
the difference of two others, so it moves as products differ from each other; the part is drawn between a tenth and six
tenths, which spreads what is made from one product as real neighbours are spread (cosine 0.99 to 0.84). Whether
neighbourhoods stay as hard to tell apart is said by their local intrinsic dimension (Amsaleg et al., KDD 2015), which
should not fall as products are made. A made *text*, for the words' side, is a real one with one word in three replaced.

Queries are 300 products that are held out: `words` asks for three of each one's words, as shoppers do, `texts` for the
whole, which is easier. Recall@100 is that of an exact fp32 search. Times are of one thread, after one round to warm up.
Filters are measured by `words`: on a share of all products, drawn evenly, or those nearest to some product, which
stand for a category that the query knows nothing of.
"""

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from loadtests.lab.bench_index.corpus import Encoder, corpus, read_texts
from loadtests.lab.bench_index.costs import measure
from loadtests.machine import machine
from loadtests.program import command_line, count, ending
from shelfbridge.measure.report import Cell, Report, Table, cell, markdown

COSTS = {
    "build_s": "building the vectors' index, s",
    "build_mb": "memory of building, MB beyond the vectors",
    "index_mb": "index on disk, MB",
    "private_mb": "memory of each process, MB",
    "p50_ms": "vector search, p50 ms",
    "whole_p50_ms": "whole search, p50 ms",
    "whole_build_s": "building all, s",
}


def sizes(text: str) -> list[int]:
    """Whole numbers above 0 with commas between them, as argparse reads them."""
    try:
        return sorted({count(size) for size in text.split(",")})
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; give some with commas between them, as 10000,100000") from None


def exponents(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """b of cost = a N^b, by least squares of the logarithms, of every cost that three sizes have."""
    fitted = {}
    for cost in COSTS:
        points = [(row["products"], row[cost]) for row in rows if row.get(cost, 0) > 0]
        if len(points) > 2:
            sizes, costs = np.log(np.array(points)).T
            fitted[cost] = float(np.polyfit(sizes, costs, 1)[0])
    return fitted


def table(record: dict[str, Any]) -> str:
    """Return the record as Markdown: sizes, then exponents, then filters."""
    columns: dict[str, Cell] = {
        "products": "{products:,}",
        "real": "{real:,}",
        "dim": "{dimension:.1f}",
        "search": lambda row: cell("{probes} lists, {refined} refined", row["setting"]) if row["setting"] else "exact",
        "build s": "{build_s:.1f}",
        "build MB": "{build_mb:.0f}",
        "index MB": "{index_mb:.1f}",
        "of stored": lambda row: f"{row['index_mb'] / row['stored_mb']:.2f} ({row['precision']})",
        "private MB": "{private_mb:.1f}",
        "recall, words": "{recall_words:.4f}",
        "recall, texts": "{recall_texts:.4f}",
        "p50 ms": "{p50_ms:.2f}",
        "p99 ms": "{p99_ms:.2f}",
        "whole p50": "{whole_p50_ms:.2f}",
        "whole p99": "{whole_p99_ms:.2f}",
    }
    filters: dict[str, Cell] = {
        "products": "{products:,}",
        "filter leaves": "{share:.1%}",
        "drawn": "{kind}",
        "recall@100": "{recall:.4f}",
        "p50 ms": "{p50_ms:.2f}",
        "p99 ms": "{p99_ms:.2f}",
    }
    unmeasured = {"whole_p50_ms": None, "whole_p99_ms": None}
    grown = [(COSTS[name], power) for name, power in record["exponents"].items()]
    return markdown(
        [
            Table.of(columns, [unmeasured | row for row in record["sizes"]]),
            Table(["cost", "exponent over products"], [[name, f"{power:.2f}"] for name, power in grown]),
            Table.of(filters, [{**row, **one} for row in record["sizes"] for one in row["filters"]]),
        ]
    )


def draw(figure: Figure, record: dict[str, Any]) -> None:
    """Every cost over products, both in logarithms."""
    places = figure.subplots(2, 2, sharex=True)
    groups = (("build_s", "whole_build_s"), ("build_mb",), ("index_mb", "private_mb"), ("p50_ms", "whole_p50_ms"))
    for axes, group in zip(places.flat, groups, strict=True):
        for name in group:
            points = [(row["products"], row[name]) for row in record["sizes"] if row.get(name, 0) > 0]
            power = record["exponents"].get(name)
            label = COSTS[name] + (f" (N^{power:.2f})" if power is not None else "")
            axes.loglog([at for at, _ in points], [cost for _, cost in points], marker="o", label=label)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    for axes in places[1]:
        axes.set_xlabel("products")


def main() -> None:
    """The command line."""
    parser = command_line("lab.bench_index", __doc__)
    parser.add_argument("--release", type=Path, required=True, metavar="DIR", help="whose encoder is used")
    parser.add_argument("--texts", type=Path, required=True, metavar="FILE", help="of products")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for JSON, table, plot and cache")
    parser.add_argument(
        "--sizes",
        type=sizes,
        default=[10_000, 100_000, 1_000_000],
        metavar="N,N,…",
        help="products to index (default: 10000,100000,1000000)",
    )
    parser.add_argument(
        "--whole-up-to",
        type=count,
        default=1_000_000,
        metavar="N",
        help="products up to which the words' side is measured too (default: %(default)s)",
    )
    options = parser.parse_args()
    with ending("nothing was written"):
        options.out.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(options.out)  # indexes take gigabytes, which /tmp may not have
        real = corpus(read_texts(options.texts), Encoder(options.release, options.out / "cache"))
        rows = measure(real, options.sizes, options.whole_up_to)
        record = {"texts": options.texts.name, "machine": machine(), "sizes": rows, "exponents": exponents(rows)}
        Report("index", record, [table(record)], partial(draw, record=record), (9, 6)).write(options.out, quiet=False)


if __name__ == "__main__":
    main()
