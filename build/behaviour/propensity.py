"""The probability that a known shopper buys within the next days, and how far it can be trusted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from build.behaviour.bgnbd import BgNbd, histories
from build.behaviour.features import came, features
from build.shelf.interactions import DAY, Interactions
from shelfbridge.errors import DataError

Probabilities = NDArray[np.float64]
Model = Callable[[Interactions, int], Probabilities]
"""Of everyone who has bought before a moment, in the order of their numbers."""
Calibration = Callable[[Probabilities], Probabilities]
CUTS = 8
"""Moments to learn from, at most."""
LEAST_COMERS = 50
SURE = 0.001
"""No probability is nearer to 0 or 1."""
SEED = 7
_FOLDS = 5


@dataclass(frozen=True)
class Propensity:
    """A model, its calibration, and what else was tried; from what happened before `cut`, and from nothing later."""

    models: dict[str, Model]
    calibrations: dict[str, dict[str, Calibration]]
    losses: dict[str, dict[str, float]]
    """Log loss on the middle cut, cross-validated: of each model, of each calibration."""
    model: str
    calibration: str
    base_rate: float
    """Share of the known who came after the middle cut."""
    cuts: list[int]

    def __call__(self, shop: Interactions, cut: int) -> Probabilities:
        """Of everyone who has bought before a moment [U]."""
        return self.calibrations[self.model][self.calibration](self.models[self.model](shop, cut))


def fitted(shop: Interactions, end: int, period: int) -> Propensity:
    """Learn from what happened before `end`.

    The middle cut lies one period before the end: the calibration is fitted to what came after it, and chosen there
    together with the model, by cross-validation. The models learn from cuts one period apart before that one; BG/NBD
    needs no outcome and is fitted to all before the middle.

    Raises:
        DataError: the history is too short, or too few came.
    """
    shop = shop.before(end)
    middle = end - period * DAY
    earliest = int(shop.time[0]) + 2 * period * DAY if len(shop) else end
    cuts = [middle - step * period * DAY for step in range(1, CUTS + 1)]
    cuts = [cut for cut in cuts if cut >= earliest]
    if not cuts:
        raise DataError(
            f"too short a history to foretell {period} days: {5 * period} days are needed; give a longer one, or a "
            f"smaller --horizon"
        )
    models = _models(shop, cuts, middle, period)
    outcome = came(shop, features(shop, middle, period)[0], middle, period)
    if min(outcome.sum(), (~outcome).sum()) < LEAST_COMERS:
        raise DataError(
            f"{outcome.sum()} of {len(outcome)} known shoppers came in {period} days; {LEAST_COMERS} who came and "
            f"{LEAST_COMERS} who did not are needed: give a longer history, or another --horizon"
        )
    losses: dict[str, dict[str, float]] = {}
    calibrations: dict[str, dict[str, Calibration]] = {}
    for name, model in models.items():
        raw = model(shop, middle)
        losses[name] = {kind: _crossed(fit, raw, outcome) for kind, fit in CALIBRATIONS.items()}
        calibrations[name] = {kind: fit(raw, outcome) for kind, fit in CALIBRATIONS.items()}
    _, best, calibration = min((loss, name, kind) for name, row in losses.items() for kind, loss in row.items())
    return Propensity(models, calibrations, losses, best, calibration, float(outcome.mean()), cuts)


def _models(shop: Interactions, cuts: list[int], middle: int, period: int) -> dict[str, Model]:
    seen = [features(shop, cut, period) for cut in cuts]
    known = np.concatenate([table for _, table in seen])
    outcome = np.concatenate([came(shop, users, cut, period) for cut, (users, _) in zip(cuts, seen, strict=True)])
    classic = BgNbd.fitted(histories(shop, middle))
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(known, outcome)
    boosted = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=120, max_leaf_nodes=8, min_samples_leaf=50, early_stopping=False, random_state=SEED
    ).fit(known, outcome)

    def learnt(classifier: Any) -> Model:
        return lambda shop, cut: _safe(classifier.predict_proba(features(shop, cut, period)[1])[:, 1])

    return {
        "BG/NBD": lambda shop, cut: _safe(classic.buys(histories(shop, cut), period)),
        "logistic regression": learnt(logistic),
        "gradient boosting": learnt(boosted),
    }


def _platt(raw: Probabilities, outcome: NDArray[np.bool_]) -> Calibration:
    """A logistic curve over the logit (Platt 1999)."""
    curve = LogisticRegression(C=1e6).fit(_logit(raw), outcome)
    return lambda some: _safe(curve.predict_proba(_logit(some))[:, 1])


def _isotonic(raw: Probabilities, outcome: NDArray[np.bool_]) -> Calibration:
    """The rising steps that fit best (Zadrozny & Elkan 2002)."""
    steps = IsotonicRegression(out_of_bounds="clip").fit(raw, outcome.astype(np.float64))
    return lambda some: _safe(steps.predict(some))


CALIBRATIONS: dict[str, Callable[[Probabilities, NDArray[np.bool_]], Calibration]] = {
    "none": lambda raw, outcome: lambda some: some,
    "Platt": _platt,
    "isotonic": _isotonic,
}


def log_loss(share: Probabilities, outcome: NDArray[np.bool_]) -> Probabilities:
    """Of each [U], in nats."""
    each: Probabilities = -np.log(np.where(outcome, share, 1 - share))
    return each


def _crossed(
    fit: Callable[[Probabilities, NDArray[np.bool_]], Calibration], raw: Probabilities, outcome: NDArray[np.bool_]
) -> float:
    """Mean log loss of those that the calibration was not fitted to."""
    each = np.empty(len(raw))
    for some, others in StratifiedKFold(_FOLDS, shuffle=True, random_state=SEED).split(raw, outcome):
        each[others] = log_loss(fit(raw[some], outcome[some])(raw[others]), outcome[others])
    return float(each.mean())


def _logit(share: Probabilities) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = np.log(share / (1 - share))[:, None]
    return odds


def _safe(share: NDArray[np.float64]) -> Probabilities:
    return np.clip(share, SURE, 1 - SURE)
