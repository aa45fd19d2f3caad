"""Who is likely to buy: the probability of each known shopper for the next days, and how far it can be trusted."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.stats.proportion import proportion_confint

from build.behaviour.bgnbd import BgNbd, histories
from build.behaviour.features import came, features
from build.behaviour.shop import Shop, date
from build.shelf.interactions import DAY
from shelfbridge.errors import DataError
from shelfbridge.measure.intervals import Interval, paired_difference, resampled
from shelfbridge.measure.report import BLUE, GREY, reach

Probabilities = NDArray[np.float64]
Outcome = NDArray[np.bool_]
Model = Callable[[Shop, int], Probabilities]
"""Of everyone who has bought before a moment, in the order of their numbers."""
Calibration = Callable[[Probabilities], Probabilities]
CUTS = 8
"""Moments to learn from, at most."""
LEAST_COMERS = 50
SURE = 0.001
"""No probability is nearer to 0 or 1."""
SEED = 7
FOLDS = 5
RESAMPLES = 500
"""Of the AUC, which takes a millisecond."""
BINS = 10
SHOWN = 15
BANDS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Propensity:
    """A model, its calibration, and what else was tried; from what happened before a cut, and from nothing later."""

    models: dict[str, Model]
    calibrations: dict[str, dict[str, Calibration]]
    losses: dict[str, dict[str, float]]
    """Log loss on the middle cut, cross-validated: of each model, of each calibration."""
    model: str
    calibration: str
    base_rate: float
    """Share of the known who came after the middle cut."""
    cuts: list[int]

    def __call__(self, shop: Shop, cut: int) -> Probabilities:
        """Of everyone who has bought before a moment [U]."""
        return self.calibrations[self.model][self.calibration](self.models[self.model](shop, cut))


def propensity(shop: Shop, period: int) -> tuple[dict[str, Any], list[tuple[int, float]]]:
    """How well the next days are foretold, and the forecast from now on.

    Everything is learnt, calibrated and chosen before the test cut, which lies one period before the end, and judged by
    what came after it. The forecast is learnt once more, from everything.

    Args:
        shop: interactions.
        period: days.

    Returns:
        The figures, and the number and probability of every known user, the likeliest first. Numbers are the places of
        the users' first interactions in the order of time; ids appear nowhere.

    Raises:
        DataError: the history is too short.
    """
    end = shop.end
    cut = end - period * DAY
    past, now = fitted(shop, cut, period), fitted(shop, end, period)
    outcome = came(shop, features(shop, cut, period).index, cut, period)
    chosen, forecast = past(shop, cut), now(shop, end)
    ranked = pd.Series(forecast, features(shop, end, period).index).sort_values(ascending=False, kind="stable")
    base = np.full(len(outcome), past.base_rate)
    best = np.argsort(-chosen, kind="stable")[: max(1, len(chosen) // 10)]
    figures = {
        "days": period,
        "cut": date(cut),
        "middle": date(cut - period * DAY),
        "training_cuts": [date(moment) for moment in past.cuts],
        "known": len(outcome),
        "came": int(outcome.sum()),
        "expected": float(chosen.sum()),
        "base_rate": past.base_rate,
        "model": past.model,
        "calibration": past.calibration,
        "choice": past.losses,
        "rows": _table(past, shop, cut, outcome),
        "auc": _figure(resampled(lambda some: _auc(chosen[some], outcome[some]), len(chosen), draws=RESAMPLES)),
        "gain": _figure(paired_difference(log_loss(base, outcome), log_loss(chosen, outcome))),
        "curve": reliability(chosen, outcome),
        "best_tenth": {
            "came": float(outcome[best].mean()),
            "of_all_comers": float(outcome[best].sum() / max(1, outcome.sum())),
        },
        "forecast": {
            "from": date(end),
            "known": len(ranked),
            "expected": float(forecast.sum()),
            "model": now.model,
            "calibration": now.calibration,
            "bands": [
                {"from": low, "to": high, "users": int(ranked.between(low, high, inclusive="left").sum())}
                for low, high in pairwise(BANDS)
            ],
            "first": [{"user": user, "probability": round(share, 3)} for user, share in ranked[:SHOWN].items()],
        },
    }
    return figures, list(ranked.items())


def fitted(shop: Shop, end: int, period: int) -> Propensity:
    """Learn from what happened before `end`.

    The middle cut lies one period before the end: the calibration is fitted to what came after it, and chosen there
    together with the model, by cross-validation. The models learn from cuts one period apart before that one; BG/NBD
    needs no outcome and is fitted to all before the middle.

    Raises:
        DataError: the history is too short, or too few came.
    """
    shop = shop.before(end)
    middle = end - period * DAY
    earliest = int(shop.seen.time[0]) + 2 * period * DAY if len(shop.seen) else end
    cuts = [cut for step in range(1, CUTS + 1) if (cut := middle - step * period * DAY) >= earliest]
    if not cuts:
        raise DataError(
            f"too short a history to foretell {period} days: {5 * period} days are needed; give a longer one, or a "
            f"smaller --horizon"
        )
    models = _models(shop, cuts, middle, period)
    outcome = came(shop, features(shop, middle, period).index, middle, period)
    if min(outcome.sum(), (~outcome).sum()) < LEAST_COMERS:
        raise DataError(
            f"{outcome.sum()} of {len(outcome)} known shoppers came in {period} days; {LEAST_COMERS} who came and "
            f"{LEAST_COMERS} who did not are needed: give a longer history, or another --horizon"
        )
    raw = {name: model(shop, middle) for name, model in models.items()}
    losses = {
        name: {kind: _crossed(fit, some, outcome) for kind, fit in CALIBRATIONS.items()} for name, some in raw.items()
    }
    calibrations = {
        name: {kind: fit(some, outcome) for kind, fit in CALIBRATIONS.items()} for name, some in raw.items()
    }
    _, best, calibration = min((loss, name, kind) for name, row in losses.items() for kind, loss in row.items())
    return Propensity(models, calibrations, losses, best, calibration, float(outcome.mean()), cuts)


def _models(shop: Shop, cuts: list[int], middle: int, period: int) -> dict[str, Model]:
    seen = {cut: features(shop, cut, period) for cut in cuts}
    known = np.concatenate(list(seen.values()))
    outcome = np.concatenate([came(shop, some.index, cut, period) for cut, some in seen.items()])
    classic = BgNbd.fitted(histories(shop, middle))
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(known, outcome)
    boosted = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=120, max_leaf_nodes=8, min_samples_leaf=50, early_stopping=False, random_state=SEED
    ).fit(known, outcome)

    def learnt(classifier: Any) -> Model:
        return lambda shop, cut: _safe(classifier.predict_proba(features(shop, cut, period).to_numpy())[:, 1])

    return {
        "BG/NBD": lambda shop, cut: _safe(classic.buys(histories(shop, cut), period)),
        "logistic regression": learnt(logistic),
        "gradient boosting": learnt(boosted),
    }


def _platt(raw: Probabilities, outcome: Outcome) -> Calibration:
    """A logistic curve over the logit (Platt 1999)."""
    curve = LogisticRegression(C=1e6).fit(_logit(raw), outcome)
    return lambda some: _safe(curve.predict_proba(_logit(some))[:, 1])


def _isotonic(raw: Probabilities, outcome: Outcome) -> Calibration:
    """The rising steps that fit best (Zadrozny & Elkan 2002)."""
    steps = IsotonicRegression(out_of_bounds="clip").fit(raw, outcome.astype(np.float64))
    return lambda some: _safe(steps.predict(some))


CALIBRATIONS: dict[str, Callable[[Probabilities, Outcome], Calibration]] = {
    "none": lambda raw, outcome: lambda some: some,
    "Platt": _platt,
    "isotonic": _isotonic,
}


def _crossed(fit: Callable[[Probabilities, Outcome], Calibration], raw: Probabilities, outcome: Outcome) -> float:
    """Mean log loss of those that the calibration was not fitted to."""
    each = np.empty(len(raw))
    for some, others in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(raw, outcome):
        each[others] = log_loss(fit(raw[some], outcome[some])(raw[others]), outcome[others])
    return float(each.mean())


def _logit(share: Probabilities) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = np.log(share / (1 - share))[:, None]
    return odds


def _safe(share: NDArray[np.float64]) -> Probabilities:
    return np.clip(share, SURE, 1 - SURE)


def log_loss(share: Probabilities, outcome: Outcome) -> Probabilities:
    """Of each [U], in nats."""
    each: Probabilities = -np.log(np.where(outcome, share, 1 - share))
    return each


def _auc(share: Probabilities, outcome: Outcome) -> float:
    """NaN where all came, or none."""
    return float(roc_auc_score(outcome, share)) if 0 < outcome.sum() < len(outcome) else np.nan


def _figure(interval: Interval) -> dict[str, float]:
    return {"mean": interval.value, "low": interval.low, "high": interval.high}


def _table(past: Propensity, shop: Shop, cut: int, outcome: Outcome) -> list[dict[str, Any]]:
    """The base rate, and each model with each calibration."""
    foretold = {("base rate", ""): np.full(len(outcome), past.base_rate)}
    for name, model in past.models.items():
        raw = model(shop, cut)
        foretold |= {(name, kind): calibration(raw) for kind, calibration in past.calibrations[name].items()}
    return [
        {
            "model": name,
            "calibration": kind,
            "chosen": (name, kind) == (past.model, past.calibration),
            "auc": _auc(share, outcome),
            "log_loss": float(log_loss(share, outcome).mean()),
            "brier": float(((share - outcome) ** 2).mean()),
            "calibration_error": calibration_error(reliability(share, outcome)),
        }
        for (name, kind), share in foretold.items()
    ]


def reliability(share: Probabilities, outcome: Outcome) -> list[dict[str, float]]:
    """Foretold and seen in tenths of the users, from the least likely to the likeliest, with Wilson's intervals."""
    rows = []
    for some in np.array_split(np.argsort(share, kind="stable"), BINS):
        low, high = proportion_confint(outcome[some].sum(), len(some), method="wilson")
        row = {"foretold": float(share[some].mean()), "seen": float(outcome[some].mean())}
        rows.append({"users": len(some), **row, "low": float(low), "high": float(high)})
    return rows


def calibration_error(curve: list[dict[str, float]]) -> float:
    """Mean distance of foretold from seen, over the users."""
    users = sum(row["users"] for row in curve)
    return sum(row["users"] * abs(row["foretold"] - row["seen"]) for row in curve) / users


def _draw(figure: Figure, chapter: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2)
    curve = pd.DataFrame(chapter["curve"])
    left.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="as foretold")
    ends = reach(chapter["curve"], "seen")
    left.errorbar(curve["foretold"], curve["seen"], yerr=ends, fmt="o-", color=BLUE, capsize=2, label="seen")
    left.set_xlabel("foretold probability, a tenth of the shoppers each")
    left.set_ylabel("share that came")
    left.legend(frameon=False)
    rows = [row for row in chapter["rows"] if row["chosen"] or row["calibration"] in ("", "none")]
    names = [f"{row['model']}, {row['calibration']}" if row["chosen"] else row["model"] for row in rows]
    colours = [BLUE if row["chosen"] else GREY for row in rows]
    right.barh(names, [row["log_loss"] for row in rows], color=colours)
    right.invert_yaxis()
    right.set_xlabel("log loss on the test cut (less is better)")


PLOTS = {"calibration": ((9, 3.9), _draw)}
