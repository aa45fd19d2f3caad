"""Baselines and the shelf on baskets that came later, by time."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from build.settings import ShelfSettings
from build.shelf.baselines import choose, contender, scored
from build.shelf.interactions import Interactions
from build.shelf.metrics import CUT, NAMES, PARTS, Figures, compared, measure
from build.shelf.ranker import Shelf, paid, ranked, shelves, train_head
from build.shelf.split import Case, Split, cases, with_history
from build.shelf.train import train
from shelfbridge.contract import SHELF_SIGNALS
from shelfbridge.errors import DataError

OURS = ENCODER, BLIND, SHELF = "user encoder", "shelf without affinity", "shelf"
HELD = 0.05
"""Share of the products that are held out to see how those fare that training never heard of."""


def evaluate(
    interactions: Interactions, texts: NDArray[np.float32], settings: ShelfSettings, console: Console
) -> dict[str, Any]:
    """Choose settings on the validation window; fit all again before the test window; measure there, once.

    The texts are unit vectors [N, D] of those of the products. `report.report` shows the record.

    Raises:
        DataError: too few interactions for three windows, or none of a known shopper in one of them.
    """
    split = Split.of(interactions, settings.weeks)
    validation = with_history(cases(interactions, split.validation, split.test))
    everyone = cases(interactions, split.test, split.end)
    test, strangers = with_history(everyone), [case for case in everyone if not len(case.history)]
    if not (validation and test):
        raise DataError("a window holds no basket of a known shopper; give longer windows (--weeks)")
    chosen = choose(interactions, split.validation, validation, console)
    for name, (_, one) in chosen.items():
        console.print(_line(name, one))
    moments = split.rehearsal, split.validation, split.test
    first, second = shelves(
        interactions, texts, moments, settings, console, prices=lambda cut: paid(interactions.before(cut))
    )
    validated = {name: one for name, (_, one) in chosen.items()} | ours(first, validation, settings, console)
    console.print(_line(f"{SHELF}, on the validation", validated[SHELF]))
    models = {name: contender(name, setting, interactions, split.test) for name, (setting, _) in chosen.items()}
    baselines = {name: measure(test, scored(model, test)) for name, model in models.items()}
    tested = baselines | ours(second, test, settings, console)
    popular = measure(strangers, scored(models["popular"], strangers))
    days = {name: datetime.fromtimestamp(time, UTC).date().isoformat() for name, time in asdict(split).items()}
    return {
        "interactions": len(interactions),
        "users": len(interactions.users),
        "products": len(interactions.items),
        "windows": days,
        "cases": {"validation": len(validation), "test": len(test), "strangers": len(strangers)},
        "settings": asdict(settings),
        "chosen": {name: setting for name, (setting, _) in chosen.items()},
        "validation": {name: one.record() for name, one in validated.items()},
        "test": {name: one.record() for name, one in tested.items()},
        "intervals": {name: {part: _interval(one, part) for part in PARTS} for name, one in tested.items()},
        "differences": differences(tested[SHELF], baselines),
        "affinity": {part: compared(tested[SHELF], tested[BLIND], part, "recall") for part in PARTS},
        "strangers": popular.record() if strangers else None,
        "cold": cold_start(interactions, texts, split.test, some=test, settings=settings, console=console),
    }


def ours(shelf: Shelf, some: Sequence[Case], settings: ShelfSettings, console: Console) -> dict[str, Figures]:
    """Figures of the user encoder alone, of the shelf, and of one whose ranker was never told the affinity."""
    histories = [case.history for case in some]
    users, lists = shelf.knowledge.users, shelf.knowledge.lists(histories, console)
    hidden = np.array([name == "affinity" for name in SHELF_SIGNALS])
    blind = train_head(
        [replace(one, signals=one.signals.masked_fill(torch.from_numpy(hidden), 0)) for one in shelf.lessons],
        settings.head_epochs,
    )
    blinded = [(rows, np.where(hidden, np.float32(0), table)) for rows, table in lists]
    return {
        ENCODER: measure(some, list(users.vectors(histories) @ users.items.T)),
        BLIND: measure(some, ranked(blind, blinded, len(users.items))),
        SHELF: measure(some, ranked(shelf.head, lists, len(users.items))),
    }


def differences(shelf: Figures, baselines: dict[str, Figures]) -> dict[str, dict[str, dict[str, Any]]]:
    """By part and figure: the shelf less the baseline that is best at it here, the strictest choice."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for part in PARTS:
        found[part] = {}
        for name in NAMES:
            best = max(baselines, key=lambda one: baselines[one].mean(part, name))
            found[part][name] = {"best": best, **compared(shelf, baselines[best], part, name)}
    return found


def _interval(figures: Figures, part: str) -> dict[str, float]:
    found = figures.interval(part, "recall")
    return {"mean": found.value, "low": found.low, "high": found.high}


def _line(name: str, figures: Figures) -> str:
    return f"{name}: " + ", ".join(f"{part} {value:.3f}" for part, value in figures.means("recall").items())


def cold_start(
    interactions: Interactions,
    texts: NDArray[np.float32],
    cut: int,
    *,
    some: Sequence[Case],
    settings: ShelfSettings,
    console: Console,
) -> dict[str, Any] | None:
    """Hold products out of all that came before a moment and of all histories; find them in the baskets after it.

    Recall@20 of these is by the encoder, by `texts` (cosine with the mean of the history's texts) and by chance: `all`,
    among all products that the shopper has not bought, and `held`, among those held out, as a shelf of new arrivals
    would rank them. None where no case bought one.
    """
    count = max(1, round(len(texts) * HELD))
    unseen = np.zeros(len(texts), bool)
    unseen[np.random.default_rng(7).permutation(len(texts))[:count]] = True
    # What is left of a basket is what was held out of it
    wanted = [
        Case(case.user, case.history.without(unseen), case.bought[unseen[case.bought]])
        for case in some
        if unseen[case.bought].any()
    ]
    wanted = with_history(wanted)
    if not wanted:
        return None
    users = train(texts, cases(interactions, 0, cut), settings, console=console, unseen=unseen)
    by_encoder = users.vectors([case.history for case in wanted]) @ users.items.T
    by_texts = np.stack([texts[np.unique(case.history.items)].mean(0) for case in wanted]) @ texts.T
    return {
        "products": count,
        "cases": len(wanted),
        "encoder": _recalls(wanted, by_encoder, unseen),
        "texts": _recalls(wanted, by_texts, unseen),
        "chance": {
            "all": float(np.mean([CUT / (len(texts) - len(np.unique(case.history.items))) for case in wanted])),
            "held": min(1.0, CUT / count),
        },
    }


def _recalls(some: Sequence[Case], scores: NDArray[np.float32], unseen: NDArray[np.bool_]) -> dict[str, float]:
    """Recall of what is new to the shopper: their history holds nothing that was held out."""
    held = [np.where(unseen, score, -np.inf) for score in scores]
    return {"all": measure(some, list(scores)).mean("new", "recall"), "held": measure(some, held).mean("new", "recall")}
