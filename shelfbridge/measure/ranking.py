"""Measures of rankings: of runs by product id, by ir_measures (its trec_eval), and of arrays of gains.

Runs are what evaluations hold. Arrays are what training and the shelf's evaluation hold, thousands of rankings a
second; a test holds both to the same figures.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import ir_measures
import numpy as np
from ir_measures import RR, R, nDCG
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from shelfbridge.catalogue import Judgments, Label

Run = dict[str, dict[str, float]]
"""Score by product id by query id."""
GRADES = {str(label): round(100 * label.gain) for label in Label}
"""The gains times a hundred: trec_eval wants integers, and nDCG does not change by a factor."""
NDCG = "nDCG@10"
MEASURES = {NDCG: nDCG @ 10, "MRR@10": RR(rel=100) @ 10, "recall@100": R(rel=100) @ 100}


def by_place(ids: Iterable[str]) -> dict[str, float]:
    """Return scores that keep the order, for trec_eval has an order of its own for equal scores."""
    return {product_id: -float(place) for place, product_id in enumerate(ids)}


def per_query(runs: Mapping[str, Run], judgments: Judgments) -> dict[str, dict[str, NDArray[Any]]]:
    """Return the figure of each judged query [Q], by measure by run; the queries in the judgments' order.

    A query without an answer counts 0.
    """
    qrels = {qid: {pid: GRADES[label] for pid, label in labels.items()} for qid, labels in judgments.by_query.items()}
    evaluator = ir_measures.evaluator(list(MEASURES.values()), qrels)
    values: dict[str, dict[str, NDArray[Any]]] = {}
    for name, run in runs.items():
        found = {(m.measure, m.query_id): m.value for m in evaluator.iter_calc(run)}
        values[name] = {
            label: np.array([found.get((one, qid), 0.0) for qid in qrels]) for label, one in MEASURES.items()
        }
    return values


def ndcg(scores: ArrayLike, gains: ArrayLike, judged: ArrayLike | None = None, depth: int = 10) -> float:
    """Return the nDCG of one ranking; 0 where nothing judged has a gain.

    Args:
        scores: of each product [C], more being better; equal ones keep their order.
        gains: of each product [C].
        judged: gains of all judged products, in any order, from which the ideal comes; those of the list if None.
        depth: number of places that count.
    """
    found = np.asarray(gains, float)
    ideal = np.sort(found if judged is None else np.asarray(judged, float))[::-1][:depth]
    if not ideal.any():
        return 0.0
    shown = found[np.argsort(-np.asarray(scores), kind="stable")[:depth]]
    discount = 1 / np.log2(np.arange(depth) + 2)
    return float(shown @ discount[: len(shown)] / (ideal @ discount[: len(ideal)]))


def recall(hits: NDArray[np.bool_], total: int, depth: int) -> float:
    """Return the share of `total` relevant products among the first `depth` of a ranking's hits, best first."""
    return float(hits[:depth].sum() / total)


def reciprocal_rank(hits: NDArray[np.bool_]) -> float:
    """Return 1 / the place of the first of a ranking's hits; 0 where there is none."""
    found = np.flatnonzero(hits)
    return float(1 / (found[0] + 1)) if len(found) else 0.0


def kendall(pairs: Iterable[tuple[ArrayLike, ArrayLike]]) -> float:
    """Return the mean of Kendall's tau (b) over pairs of score arrays.

    Lists of fewer than two products have one order only and are left out; scores that are all equal agree with nothing
    (0). It is 1 where no pair is left.
    """
    taus = [stats.kendalltau(one, other).statistic for one, other in pairs if np.size(one) > 1]
    return float(np.nan_to_num(taus).mean()) if taus else 1.0
