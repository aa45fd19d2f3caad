"""What it costs to change products of a release while it is served, and what searches pay for the changes.

    python -m loadtests.lab.changes --release out/releases/current --catalogue products.parquet --out FOLDER

A copy of the release is changed: 1, 100 and 1,000 products get another title, then another price alone. Columns:
`text`, seconds of a change that encodes them; `price`, of one that does not; `seen`, milliseconds until a process has
opened the new generation; `p50` and `p99`, milliseconds of a search for candidates (retrieval alone, one thread).
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import faiss

from build.change import LIMIT, change
from build.evaluation.offline import EncodedQuery, Retrieval
from build.release.index import likely_queries
from build.release.publish import hard_link
from loadtests.machine import machine
from loadtests.program import command_line, count, ending
from loadtests.serving import sold
from loadtests.timing import milliseconds, percentiles
from shelfbridge.catalogue import Catalogue
from shelfbridge.measure.report import Cell, Report, Table
from shelfbridge.release import Release, read_manifest

COUNTS = (1, 100, 1000)
COLUMNS: Mapping[str, Cell] = {
    "products": "{products}",
    "text, s": "{text:.2f}",
    "price, s": "{price:.2f}",
    "seen, ms": "{seen:.1f}",
    "p50, ms": "{p50:.2f}",
    "p99, ms": "{p99:.2f}",
}


def measure(release: Path, catalogue: Catalogue, counts: Sequence[int]) -> list[dict[str, float]]:
    """Change a release, and return the table's rows: without changes (0 products), then by number of products."""
    number = release.name
    retrieval = Retrieval.open(
        release / "preprocess" / number / "tokenizer.json",
        release / "encoder" / number / "model.onnx",
        release / "retrieve" / number,
    )
    queries = [retrieval.encode(query) for query in likely_queries(catalogue, [])]
    opened = Release.open(release, ["index"])

    def search(query: EncodedQuery) -> None:
        opened.now().index.search(query.text, query.embedding)

    def searches() -> dict[str, float]:
        """Of three rounds, after a first that does not count."""
        times = [milliseconds(partial(search, query)) for query in queries * 4]
        return percentiles(times[len(queries) :], 50, 99)

    rows = [{"products": 0, "text": 0.0, "price": 0.0, "seen": 0.0, **searches()}]
    for many in counts:
        some = [p.model_copy(update={"title": f"{p.title} ({many})"}) for p in catalogue.products[:many]]
        cheap = [product.model_copy(update={"price": 1.0}) for product in some]
        text = milliseconds(partial(change, release, upsert=some)) / 1e3
        seen = milliseconds(opened.refresh)
        price = milliseconds(partial(change, release, upsert=cheap)) / 1e3
        rows.append({"products": many, "text": text, "price": price, "seen": seen, **searches()})
    return rows


def main() -> None:
    """The command line."""
    parser = command_line("lab.changes", __doc__)
    parser.add_argument("--release", type=Path, required=True, help="folder of the release; stays as it is")
    parser.add_argument("--catalogue", type=Path, required=True, help="what it was built from")
    parser.add_argument("--products", type=count, nargs="+", default=COUNTS, help=f"up to {LIMIT}")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    with ending("nothing was written"):
        catalogue = sold(options.release, options.catalogue)
        options.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=options.out) as folder:
            copied = Path(folder) / str(read_manifest(options.release)["release"])
            shutil.copytree(options.release.resolve(), copied, copy_function=hard_link)
            rows = measure(copied, catalogue, options.products)
        record = {"machine": machine(), "costs": rows}
        Report("changes", record, [Table.of(COLUMNS, rows)]).write(options.out, quiet=False)


if __name__ == "__main__":
    main()
