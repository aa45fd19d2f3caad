"""How good each stage's ranking is, over the full catalogue: offline, or through a served ensemble.

    python -m build.evaluate --release out/releases/current --catalogue F --judgments F [--split dev] [--served ADDRESS]

Measures come from ir_measures (its trec_eval): nDCG@10 with the data set's gains (E 1, S 0.1, C 0.01), MRR@10 and
recall@100 of exact products. Intervals are bootstrapped over queries (BCa), the comparison with BM25 is a paired
permutation test, both by SciPy.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from ir_measures import RR, R, nDCG
from numpy.typing import NDArray
from rich.console import Console
from scipy import stats

from build.offline import Ensembles
from build.progress import progress
from build.release import open_release
from build.report import write_report
from shelfbridge.catalogue import Catalogue, Judgments, Split, read_catalogue, read_judgments
from shelfbridge.client import SearchClient
from shelfbridge.contract import CANDIDATES
from shelfbridge.errors import DataError, ShelfbridgeError

Run = dict[str, dict[str, float]]
"""Score by product id by query id."""
STAGES = ("lexical", "dense", "fused", "ranked", "deep")
GRADES = {"E": 100, "S": 10, "C": 1, "I": 0}
"""The gains times a hundred: trec_eval wants integers, and nDCG does not change by a factor."""
MEASURES = {"nDCG@10": nDCG @ 10, "MRR@10": RR(rel=100) @ 10, "recall@100": R(rel=100) @ 100}


@dataclass(frozen=True)
class Figure:
    """A mean over queries with its 95 % interval, and how it compares with BM25 (difference, p)."""

    mean: float
    low: float
    high: float
    over_lexical: float
    p: float


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


def by_place(ids: Iterable[str]) -> dict[str, float]:
    """Scores that keep the order, for trec_eval has its own for equal ones."""
    return {product_id: -float(place) for place, product_id in enumerate(ids)}


def per_query(runs: Mapping[str, Run], judgments: Judgments) -> dict[str, dict[str, NDArray[Any]]]:
    """Each judged query's figure [Q], by measure by stage; the queries in the judgments' order."""
    qrels = {qid: {pid: GRADES[label] for pid, label in labels.items()} for qid, labels in judgments.by_query.items()}
    evaluator = ir_measures.evaluator(list(MEASURES.values()), qrels)
    values: dict[str, dict[str, NDArray[Any]]] = {}
    for stage, run in runs.items():
        found = {(m.measure, m.query_id): m.value for m in evaluator.iter_calc(run)}
        values[stage] = {
            name: np.array([found.get((one, qid), 0.0) for qid in qrels]) for name, one in MEASURES.items()
        }
    return values


def measure(runs: Mapping[str, Run], judgments: Judgments) -> dict[str, dict[str, Figure]]:
    """Figures by measure by stage."""
    values = per_query(runs, judgments)
    base = values.get("lexical", next(iter(values.values())))
    return {stage: {name: compare(row[name], base[name]) for name in MEASURES} for stage, row in values.items()}


def compare(values: NDArray[Any], base: NDArray[Any]) -> Figure:
    """A figure from each query's value and the base's value for the same query."""
    mean, difference = float(values.mean()), values - base
    low = high = mean
    if len(values) > 1 and values.std() > 0:
        interval = stats.bootstrap(
            (values,), np.mean, n_resamples=2000, rng=np.random.default_rng(7)
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    p = 1.0
    if len(values) > 1 and np.any(difference):
        test = stats.permutation_test(
            (values, base),
            lambda x, y, axis: np.mean(x - y, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=5000,
            rng=np.random.default_rng(7),
        )
        p = float(test.pvalue)
    return Figure(mean, low, high, float(difference.mean()), p)


def evaluate(
    folder: Path,
    *,
    release: Path,
    catalogue: Catalogue,
    judgments: Judgments,
    split: Split,
    console: Console,
    served: str | None = None,
) -> dict[str, dict[str, Figure]]:
    """Measure a release on a split and write `evaluation.json`, `.md` and `.png` to `folder`.

    Raises:
        DataError: the split has no judgment.
    """
    chosen = judgments.of(split)
    if not chosen.rows:
        raise DataError(f"no judgment in split {split!r}; choose another or add judged queries to it")
    runs = offline_runs(open_release(release), catalogue, chosen, console)
    if served:
        runs |= {f"{stage}, served": run for stage, run in served_runs(served, chosen, console).items()}
    figures = measure(runs, chosen)
    record = {
        "split": split,
        "queries": len(chosen.queries),
        "products": len(catalogue.products),
        "stages": {stage: {name: asdict(figure) for name, figure in row.items()} for stage, row in figures.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(record, indent=2) + "\n")
    write_report(folder, record)
    return figures


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m build.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    try:
        catalogue = read_catalogue(options.catalogue)
        evaluate(
            options.out,
            release=options.release,
            catalogue=catalogue,
            judgments=read_judgments(options.judgments, catalogue),
            split=options.split,
            console=console,
            served=options.served,
        )
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    console.print((options.out / "evaluation.md").read_text())


if __name__ == "__main__":
    main()
