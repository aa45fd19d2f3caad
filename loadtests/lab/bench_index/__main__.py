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
from functools import partial
from pathlib import Path

from loadtests.lab.bench_index.corpus import Encoder, corpus, read_texts
from loadtests.lab.bench_index.costs import measure
from loadtests.lab.bench_index.report import draw, exponents, table
from loadtests.machine import machine
from loadtests.program import command_line, count, ending
from shelfbridge.measure.report import Report


def sizes(text: str) -> list[int]:
    """Whole numbers above 0 with commas between them, as argparse reads them."""
    try:
        return sorted({count(size) for size in text.split(",")})
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; give some with commas between them, as 10000,100000") from None


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
    with ending("stopped; nothing was written"):
        options.out.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(options.out)  # indexes take gigabytes, which /tmp may not have
        real = corpus(read_texts(options.texts), Encoder(options.release, options.out / "cache"))
        rows = measure(real, options.sizes, options.whole_up_to)
        record = {"texts": options.texts.name, "machine": machine(), "sizes": rows, "exponents": exponents(rows)}
        Report("index", record, [table(record)], partial(draw, record=record), (9, 6)).write(options.out, quiet=False)


if __name__ == "__main__":
    main()
