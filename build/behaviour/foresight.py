"""Purchase propensity as the report shows it: judged on a later time, then foretold for the time to come."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from build.behaviour.chance import wilson
from build.behaviour.features import came, features
from build.behaviour.propensity import Probabilities, Propensity, fitted, log_loss
from build.behaviour.tables import date, ending
from build.shelf.interactions import DAY, Interactions
from shelfbridge.measure.intervals import Interval, paired_difference, resampled

RESAMPLES = 500
"""Of the AUC, which takes a millisecond."""
BINS = 10
SHOWN = 15
BANDS = (0.1, 0.25, 0.5, 0.75)


def propensity(shop: Interactions, period: int) -> tuple[dict[str, Any], list[tuple[int, float]]]:
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
    end = ending(shop)
    cut = end - period * DAY
    past = fitted(shop, cut, period)
    users = features(shop, cut, period)[0]
    outcome = came(shop, users, cut, period)
    chosen = past(shop, cut)
    now = fitted(shop, end, period)
    forecast = now(shop, end)
    known = features(shop, end, period)[0]
    order = np.argsort(-forecast, kind="stable")
    ranked = [(int(known[at]), float(forecast[at])) for at in order]
    figures = {
        "days": period,
        "cut": date(cut),
        "middle": date(cut - period * DAY),
        "training_cuts": [date(moment) for moment in past.cuts],
        "known": len(users),
        "came": int(outcome.sum()),
        "expected": float(chosen.sum()),
        "base_rate": past.base_rate,
        "model": past.model,
        "calibration": past.calibration,
        "choice": past.losses,
        "rows": _table(past, shop, cut, outcome),
        "auc": _interval(chosen, outcome),
        "gain": _gain(chosen, past.base_rate, outcome),
        "curve": reliability(chosen, outcome),
        "best_tenth": _lift(chosen, outcome),
        "forecast": {
            "from": date(end),
            "known": len(known),
            "expected": float(forecast.sum()),
            "model": now.model,
            "calibration": now.calibration,
            "bands": _bands(forecast),
            "first": [{"user": user, "probability": round(share, 3)} for user, share in ranked[:SHOWN]],
        },
    }
    return figures, ranked


def _table(past: Propensity, shop: Interactions, cut: int, outcome: NDArray[np.bool_]) -> list[dict[str, Any]]:
    base = np.full(len(outcome), past.base_rate)
    rows = [{"model": "base rate", "calibration": "", "chosen": False, **_scores(base, outcome)}]
    for name, model in past.models.items():
        raw = model(shop, cut)
        for kind, calibration in past.calibrations[name].items():
            chosen = (name, kind) == (past.model, past.calibration)
            rows.append({"model": name, "calibration": kind, "chosen": chosen, **_scores(calibration(raw), outcome)})
    return rows


def _scores(share: Probabilities, outcome: NDArray[np.bool_]) -> dict[str, float]:
    return {
        "auc": float(roc_auc_score(outcome, share)),
        "log_loss": float(log_loss(share, outcome).mean()),
        "brier": float(((share - outcome) ** 2).mean()),
        "calibration_error": calibration_error(reliability(share, outcome)),
    }


def reliability(share: Probabilities, outcome: NDArray[np.bool_]) -> list[dict[str, float]]:
    """Foretold and seen in tenths of the users, from the least likely to the likeliest."""
    rows = []
    for some in np.array_split(np.argsort(share, kind="stable"), BINS):
        hits, size = np.array([outcome[some].sum()]), np.array([len(some)])
        low, high = wilson(hits, size)
        rows.append(
            {
                "users": len(some),
                "foretold": float(share[some].mean()),
                "seen": float(outcome[some].mean()),
                "low": float(low[0]),
                "high": float(high[0]),
            }
        )
    return rows


def calibration_error(curve: list[dict[str, float]]) -> float:
    """Mean distance of foretold from seen, over the users."""
    users = sum(row["users"] for row in curve)
    return sum(row["users"] * abs(row["foretold"] - row["seen"]) for row in curve) / users


def _interval(share: Probabilities, outcome: NDArray[np.bool_]) -> dict[str, float]:
    """Return the AUC with its 95 % interval over users."""

    def auc(some: NDArray[np.intp]) -> float:
        both = 0 < outcome[some].sum() < len(some)
        return float(roc_auc_score(outcome[some], share[some])) if both else np.nan

    return _figure(resampled(auc, len(share), draws=RESAMPLES))


def _gain(share: Probabilities, base_rate: float, outcome: NDArray[np.bool_]) -> dict[str, float]:
    """Return by how much the log loss is less than that of the base rate, with its 95 % interval over users."""
    return _figure(paired_difference(log_loss(np.full(len(share), base_rate), outcome), log_loss(share, outcome)))


def _figure(interval: Interval) -> dict[str, float]:
    return {"mean": interval.value, "low": interval.low, "high": interval.high}


def _lift(share: Probabilities, outcome: NDArray[np.bool_]) -> dict[str, float]:
    best = np.argsort(-share, kind="stable")[: max(1, len(share) // 10)]
    return {"came": float(outcome[best].mean()), "of_all_comers": float(outcome[best].sum() / max(1, outcome.sum()))}


def _bands(share: Probabilities) -> list[dict[str, Any]]:
    edges = (0.0, *BANDS, 1.0)
    return [
        {"from": low, "to": high, "users": int(((share >= low) & (share < high)).sum())}
        for low, high in pairwise(edges)
    ]
