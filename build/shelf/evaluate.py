"""Baselines and the shelf on baskets that came later, by time."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from build.shelf.baselines import scored
from build.shelf.cold import cold_start
from build.shelf.contenders import choose, contender
from build.shelf.interactions import Interactions
from build.shelf.metrics import NAMES, PARTS, Figures, compared, measure
from build.shelf.ranker import paid, ranked, train_head
from build.shelf.shelf import Shelf, shelves, with_history
from build.shelf.split import WEEKS, Case, Split, cases
from build.shelf.train import Settings
from shelfbridge.contract import SHELF_SIGNALS
from shelfbridge.errors import DataError

OURS = "shelf"
BLIND = "shelf without affinity"
ENCODER = "user encoder"


def evaluate(
    interactions: Interactions,
    texts: NDArray[np.float32],
    *,
    console: Console,
    weeks: int = WEEKS,
    settings: Settings | None = None,
) -> dict[str, Any]:
    """Choose settings on the validation window; fit all again before the test window; measure there, once.

    Args:
        interactions: all.
        texts: unit vectors of the products' texts [N, D].
        console: for the progress.
        weeks: of a window.
        settings: of the encoder.

    Returns:
        The record that `report.write_report` writes.

    Raises:
        DataError: too few interactions for three windows, or none of a known shopper in one of them.
    """
    settings = settings or Settings()
    split = Split.of(interactions, weeks)
    validation = with_history(cases(interactions, split.validation, split.test))
    everyone = cases(interactions, split.test, split.end)
    test = with_history(everyone)
    strangers = [case for case in everyone if not len(case.history)]
    if not (validation and test):
        raise DataError("a window holds no basket of a known shopper; give longer windows (--weeks)")
    chosen = choose(interactions, split.validation, validation, console)
    for name, (_, one) in chosen.items():
        console.print(_line(name, one))
    first, second = shelves(
        interactions,
        texts,
        (split.rehearsal, split.validation, split.test),
        settings,
        console,
        prices=lambda cut: paid(interactions.before(cut)),
    )
    figures = {name: one for name, (_, one) in chosen.items()}
    validated = figures | ours(first, validation, settings, console)
    console.print(_line(f"{OURS}, on the validation", validated[OURS]))
    models = {name: contender(name, setting, interactions, split.test) for name, (setting, _) in chosen.items()}
    histories = [case.history for case in test]
    baselines = {name: measure(test, scored(model, histories)) for name, model in models.items()}
    tested = baselines | ours(second, test, settings, console)
    popular = measure(strangers, scored(models["popular"], [case.history for case in strangers]))
    return {
        "interactions": len(interactions),
        "users": len(interactions.users),
        "products": len(interactions.items),
        "windows": {name: _day(getattr(split, name)) for name in ("rehearsal", "validation", "test", "end")},
        "cases": {"validation": len(validation), "test": len(test), "strangers": len(strangers)},
        "settings": asdict(settings),
        "chosen": {name: setting for name, (setting, _) in chosen.items()},
        "validation": {name: one.record() for name, one in validated.items()},
        "test": {name: one.record() for name, one in tested.items()},
        "intervals": {name: {part: interval(one, part) for part in PARTS} for name, one in tested.items()},
        "differences": differences(tested[OURS], baselines),
        "affinity": {part: compared(tested[OURS], tested[BLIND], part, "recall") for part in PARTS},
        "strangers": popular.record() if strangers else None,
        "cold": cold_start(interactions, texts, split.test, some=test, settings=settings, console=console),
    }


def ours(shelf: Shelf, some: Sequence[Case], settings: Settings, console: Console) -> dict[str, Figures]:
    """Figures of the user encoder alone, of the shelf, and of one whose ranker was never told the affinity."""
    histories = [case.history for case in some]
    users = shelf.knowledge.users
    found = shelf.candidates(histories, console)
    at = SHELF_SIGNALS.index("affinity")
    blinded = [(rows, _blind(table, at)) for rows, table in found]
    head = train_head(
        [replace(one, signals=one.signals.clone().index_fill_(2, torch.tensor([at]), 0)) for one in shelf.lessons],
        settings.head_epochs,
    )
    return {
        ENCODER: measure(some, list(users.vectors(histories) @ users.items.T)),
        BLIND: measure(some, ranked(head, blinded, len(users.items))),
        OURS: measure(some, shelf.scores(found)),
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


def interval(figures: Figures, part: str) -> dict[str, float]:
    """The mean recall with its 95 % interval over users."""
    nothing = replace(figures, values=np.zeros_like(figures.values))
    found = compared(figures, nothing, part, "recall")
    return {"mean": found["difference"], "low": found["low"], "high": found["high"]}


def _line(name: str, figures: Figures) -> str:
    return f"{name}: " + ", ".join(f"{part} {figures.mean(part, 'recall'):.3f}" for part in PARTS)


def _blind(table: NDArray[np.float32], at: int) -> NDArray[np.float32]:
    blinded = table.copy()
    blinded[:, at] = 0
    return blinded


def _day(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).date().isoformat()
