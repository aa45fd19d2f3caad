"""What it costs to change products of a release while it is served, and what searches pay for the changes.

    python -m loadtests.lab.changes --release out/releases/current --catalogue products.parquet --out FOLDER

A copy of the release is changed: 1, 100 and 1,000 products get another title, then another price alone. Columns:
`text`, seconds of a change that encodes them; `price`, of one that does not; `seen`, milliseconds until a process has
opened the new generation; `p50` and `p99`, milliseconds of a search for candidates (retrieval alone, one thread).
"""

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import faiss
import numpy as np

from build.change import LIMIT, change
from build.evaluation.offline import EncodedQuery, Retrieval
from build.release.index import likely_queries
from build.release.publish import hard_link
from loadtests import program
from loadtests.machine import machine
from loadtests.serving import sold
from shelfbridge.catalogue import Catalogue, Product
from shelfbridge.measure.report import Cell, Report, Table
from shelfbridge.release import Release, read_manifest

COUNTS = (1, 100, 1000)


@dataclass(frozen=True)
class Cost:
    """What so many changed products cost; seconds, and milliseconds of `seen`, `p50` and `p99`."""

    products: int
    text: float
    price: float
    seen: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Subject:
    """A release that may be changed, as a process that searches it sees it."""

    release: Path
    opened: Release
    queries: list[EncodedQuery]

    @classmethod
    def copy(cls, release: Path, folder: Path, catalogue: Catalogue) -> "Subject":
        """Copy a release; its large files are linked."""
        number = str(read_manifest(release)["release"])
        copied = folder / number
        shutil.copytree(release.resolve(), copied, copy_function=hard_link)
        retrieval = Retrieval.open(
            copied / "preprocess" / number / "tokenizer.json",
            copied / "encoder" / number / "model.onnx",
            copied / "retrieve" / number,
        )
        queries = [retrieval.encode(query) for query in likely_queries(catalogue, [])]
        return cls(copied, Release.open(copied, ["index"]), queries)

    def change(self, products: Sequence[Product]) -> float:
        """Seconds of a change."""
        begun = time.perf_counter()
        change(self.release, upsert=products)
        return time.perf_counter() - begun

    def seen(self) -> float:
        """Milliseconds until the newest generation is open."""
        begun = time.perf_counter()
        self.opened.refresh()
        return (time.perf_counter() - begun) * 1e3

    def searches(self) -> tuple[float, float]:
        """Milliseconds of a search, median and 99th percentile of three rounds after a first."""
        times = []
        for query in self.queries * 4:
            begun = time.perf_counter()
            self.opened.now().index.search(query.text, query.embedding)
            times.append(time.perf_counter() - begun)
        p50, p99 = np.percentile(times[len(self.queries) :], [50, 99]) * 1e3
        return float(p50), float(p99)


def measure(subject: Subject, catalogue: Catalogue, counts: Sequence[int] = COUNTS) -> list[Cost]:
    """The cost of no changes folder (0 products), and of each number of changed products."""
    costs = [Cost(0, 0, 0, 0, *subject.searches())]
    for count in counts:
        some = [p.model_copy(update={"title": f"{p.title} ({count})"}) for p in catalogue.products[:count]]
        text = subject.change(some)
        seen = subject.seen()
        price = subject.change([product.model_copy(update={"price": 1.0}) for product in some])
        costs.append(Cost(count, text, price, seen, *subject.searches()))
    return costs


COLUMNS: dict[str, Cell] = {
    "products": "{products}",
    "text, s": "{text:.2f}",
    "price, s": "{price:.2f}",
    "seen, ms": "{seen:.1f}",
    "p50, ms": "{p50:.2f}",
    "p99, ms": "{p99:.2f}",
}


def main() -> None:
    """The command line."""
    parser = program.command_line("lab.changes", __doc__)
    parser.add_argument("--release", type=Path, required=True, help="folder of the release; stays as it is")
    parser.add_argument("--catalogue", type=Path, required=True, help="what it was built from")
    parser.add_argument("--products", type=program.count, nargs="+", default=COUNTS, help=f"up to {LIMIT}")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    with program.ending("stopped; nothing was written"):
        catalogue = sold(options.release, options.catalogue)
        options.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=options.out) as folder:
            costs = measure(Subject.copy(options.release, Path(folder), catalogue), catalogue, options.products)
        record = {"machine": machine(), "costs": [asdict(cost) for cost in costs]}
        Report("changes", record, [Table.of(COLUMNS, costs)]).write(options.out, quiet=False)


if __name__ == "__main__":
    main()
