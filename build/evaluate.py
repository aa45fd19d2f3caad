"""How good each stage's ranking is, over the full catalogue: offline, or through a served ensemble.

    python -m build.evaluate --release out/releases/current --catalogue F --judgments F [--split dev] [--served ADDRESS]

Measures come from ir_measures (its trec_eval): nDCG@10 with the data set's gains (E 1, S 0.1, C 0.01), MRR@10 and
recall@100 of exact products. Intervals are bootstrapped over queries (BCa), the comparison with BM25 is a paired
permutation test, both by SciPy (`shelfbridge.measure`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from rich.console import Console

from build.data.splits import with_all_splits
from build.evaluation.offline import Ensembles
from build.evaluation.report import write_report
from build.progress import progress
from build.release.publish import open_release
from shelfbridge.catalogue import Catalogue, Judgments, Split, read_catalogue, read_judgments
from shelfbridge.client import SearchClient
from shelfbridge.contract import CANDIDATES
from shelfbridge.errors import DataError
from shelfbridge.measure.intervals import Interval, mean_interval, paired_difference, paired_p
from shelfbridge.measure.ranking import MEASURES, Run, by_place, per_query
from shelfbridge.program import command_line, ending

STAGES = ("lexical", "dense", "fused", "ranked", "deep")
BASES = {"fused": ("lexical",), "ranked": ("lexical", "fused"), "deep": ("ranked",)}
"""The stages that each is held against; the last of them is the one before it."""


@dataclass(frozen=True)
class Figure:
    """A mean over queries, and its difference to BM25's, both with 95 % intervals; `p` of the difference.

    `over_before` is the difference to the stage before it, if there is one.
    """

    mean: float
    low: float
    high: float
    over_lexical: float
    over_low: float
    over_high: float
    p: float
    over_before: Interval | None = None


def offline_runs(ensembles: Ensembles, catalogue: Catalogue, judgments: Judgments, console: Console) -> dict[str, Run]:
    """The rankings of every stage for the judged queries."""
    runs: dict[str, Run] = {stage: {} for stage in STAGES}
    with progress(console) as bar:
        for query_id, query in bar.track(judgments.queries.items(), description="searching offline"):
            for stage, (rows, _) in ensembles.rankings(query).items():
                runs[stage][query_id] = by_place(catalogue.products[row].product_id for row in rows[:CANDIDATES])
    return runs


def served_runs(address: str, judgments: Judgments, console: Console) -> dict[str, Run]:
    """The rankings of both ensembles of a running server."""
    runs: dict[str, Run] = {"ranked": {}, "deep": {}}
    with SearchClient(address, timeout=30) as client, progress(console) as bar:
        for query_id, query in bar.track(judgments.queries.items(), description="searching the server"):
            for stage, deep in (("ranked", False), ("deep", True)):
                result = client.search(query, k=CANDIDATES, deep=deep, with_payload=False)
                runs[stage][query_id] = by_place(hit.product_id for hit in result.hits)
    return runs


def measure(runs: Mapping[str, Run], judgments: Judgments) -> dict[str, dict[str, Figure]]:
    """Figures by measure by stage."""
    values = per_query(runs, judgments)
    base = values.get("lexical", next(iter(values.values())))
    return {
        stage: {name: compare(row[name], base[name], _before(stage, values, name)) for name in MEASURES}
        for stage, row in values.items()
    }


def _before(stage: str, values: Mapping[str, Mapping[str, NDArray[Any]]], name: str) -> NDArray[Any] | None:
    before = BASES.get(stage, ("",))[-1]
    return values[before][name] if before in values else None


def compare(values: NDArray[Any], base: NDArray[Any], before: NDArray[Any] | None = None) -> Figure:
    """Return a figure from the value of each query, and the base's and the stage before's for the same query."""
    mean, over = mean_interval(values), paired_difference(values, base)
    over_before = None if before is None else paired_difference(values, before)
    return Figure(mean.value, mean.low, mean.high, over.value, over.low, over.high, paired_p(values, base), over_before)


def evaluate(
    folder: Path,
    *,
    steps: Ensembles,
    catalogue: Catalogue,
    judgments: Judgments,
    split: Split,
    console: Console,
    served: str | None = None,
) -> None:
    """Measure all steps on a split and write `evaluation.json`, `.md` and `.png` to `folder`.

    Args:
        served: address of a server whose answers are measured beside them.

    Raises:
        DataError: the split has no judgment.
    """
    chosen = judgments.of(split)
    if not chosen.rows:
        raise DataError(f"no judgment in split {split!r}; choose another or add judged queries to it")
    runs = offline_runs(steps, catalogue, chosen, console)
    if served:
        runs |= {f"{stage}, served": run for stage, run in served_runs(served, chosen, console).items()}
    figures = measure(runs, chosen)
    record = {
        "split": split,
        "queries": len(chosen.queries),
        "products": len(catalogue.products),
        "stages": {stage: {name: asdict(figure) for name, figure in row.items()} for stage, row in figures.items()},
    }
    write_report(folder, record)


def evaluate_parts(
    folder: Path, *, catalogue: Catalogue, judgments: Judgments, split: Split, console: Console, **parts: Path
) -> None:
    """As `evaluate`, of what is to go into a release: the folders that `Ensembles.open` takes."""
    evaluate(
        folder,
        steps=Ensembles.open(**parts),
        catalogue=catalogue,
        judgments=judgments,
        split=split,
        console=console,
    )


def main() -> None:
    """The command line."""
    parser = command_line("build.evaluate", __doc__ or "")
    parser.add_argument("--release", type=Path, required=True, help="folder of a release, with its manifest.json")
    parser.add_argument("--catalogue", type=Path, required=True)
    parser.add_argument("--judgments", type=Path, required=True)
    parser.add_argument("--split", choices=("train", "dev", "test"), default="dev")
    parser.add_argument("--served", metavar="ADDRESS", help="also search this running server, e.g. localhost:8001")
    parser.add_argument(
        "--out", type=Path, default=Path("evaluation"), help="folder of the report (default: %(default)s)"
    )
    options = parser.parse_args()
    console = Console()
    with ending("nothing was written", "nothing was written"):
        catalogue = read_catalogue(options.catalogue)
        evaluate(
            options.out,
            steps=open_release(options.release),
            catalogue=catalogue,
            judgments=with_all_splits(read_judgments(options.judgments, catalogue))[0],
            split=options.split,
            console=console,
            served=options.served,
        )
    console.print((options.out / "evaluation.md").read_text())


if __name__ == "__main__":
    main()
