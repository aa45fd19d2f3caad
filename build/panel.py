"""Judged queries by which a compressed network is compared with its original: what shoppers would see of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy import stats

from build.evaluate import by_place, per_query
from build.offline import Ensembles, Ranking
from build.training import progress
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.contract import CANDIDATES
from shelfbridge.errors import ArtefactError

Network = Literal["encoder", "ranker", "cross_encoder"]
Stage = Literal["ranked", "deep"]
MOST = 150
"""Queries compared: those of dev first, then of train, which no compression step learns from."""


@dataclass(frozen=True)
class Verdict:
    """Rankings and nDCG@10 [Q] of each query of a panel."""

    rankings: list[Ranking]
    ndcg: NDArray[np.float64]

    def first(self, count: int) -> "Verdict":
        """Of the first queries alone."""
        return Verdict(self.rankings[:count], self.ndcg[:count])


@dataclass(frozen=True)
class Panel:
    """Judged queries of dev and train."""

    catalogue: Catalogue
    judgments: Judgments
    dev: int
    """How many of them are of dev; they come first."""

    @classmethod
    def of(cls, catalogue: Catalogue, judgments: Judgments, most: int = MOST) -> "Panel":
        """The panel of a shop."""
        dev, train = (judgments.of(split) for split in ("dev", "train"))
        chosen = list(dict.fromkeys([*dev.by_query, *train.by_query]))[:most]
        by_query: dict[str, list[Any]] = {query_id: [] for query_id in chosen}
        for row in (*dev.rows, *train.rows):
            if row.query_id in by_query:
                by_query[row.query_id].append(row)
        rows = tuple(row for some in by_query.values() for row in some)
        return cls(catalogue, Judgments(rows), len(set(chosen) & set(dev.by_query)))

    def judge(self, ensembles: Ensembles, stage: Stage, console: Console) -> Verdict:
        """Rankings of a stage and what they are worth.

        Raises:
            ArtefactError: a network gives the same score to every candidate of a query.
        """
        rankings = []
        with progress(console) as bar:
            for query in bar.track(list(self.judgments.queries.values()), description=f"judging {stage}"):
                rows, scores = ensembles.ranked(query) if stage == "ranked" else ensembles.deep(query)
                check_scores(scores, "ranker" if stage == "ranked" else "cross_encoder")
                rankings.append((rows, scores))
        return self.verdict(rankings)

    def verdict(self, rankings: list[Ranking]) -> Verdict:
        """What rankings of all its queries, in order, are worth."""
        products = self.catalogue.products
        run = {
            query_id: by_place(products[row].product_id for row in rows[:CANDIDATES])
            for query_id, (rows, _) in zip(self.judgments.queries, rankings, strict=True)
        }
        return Verdict(rankings, per_query({"": run}, self.judgments)[""]["nDCG@10"])


def check_scores(scores: NDArray[Any], network: str) -> None:
    """Refuse scores that tell nothing apart, or are no numbers.

    Raises:
        ArtefactError: they do not.
    """
    if not np.isfinite(scores).all():
        raise ArtefactError(f"{network} gives scores that are no numbers; its weights are out of range, train it again")
    if len(scores) > 1 and np.ptp(scores) == 0:
        raise ArtefactError(
            f"{network} gives the same score to every product; it has no head for one logit, or was loaded as another "
            "kind of model: look at its training and its loading"
        )


def with_network(ensembles: Ensembles, network: Network, session: Any) -> Ensembles:
    """The ensembles with one network replaced."""
    if network == "encoder":
        return replace(ensembles, retrieval=replace(ensembles.retrieval, encoder=session))
    return replace(ensembles, **{network: session})


def tau(reference: Sequence[Ranking], other: Sequence[Ranking], depth: int = 10) -> float:
    """Mean Kendall's tau (b) of another ranking with the order of the reference's first products.

    A product that the other does not find counts as behind all that it finds.
    """
    values = []
    for (rows, _), (found, _) in zip(reference, other, strict=True):
        first = rows[:depth].tolist()
        places = {row: place for place, row in enumerate(found.tolist())}
        if len(first) > 1:
            values.append(
                stats.kendalltau(range(len(first)), [places.get(row, len(places)) for row in first]).statistic
            )
    return float(np.nan_to_num(values).mean()) if values else 1.0
