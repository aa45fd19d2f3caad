"""The baselines with the settings that they may be given; a validation window chooses."""

from collections.abc import Sequence
from itertools import product
from typing import Any

from rich.console import Console

from build.progress import progress
from build.shelf.baselines import Als, ItemItem, Model, Own, Popular, ease, scored, together
from build.shelf.interactions import Interactions
from build.shelf.metrics import Figures, measure
from build.shelf.popularity import Popularity
from build.shelf.split import Case

GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "popular": {"half_life": (3, 7, 14, 28, 1000)},
    "own": {"half_life": (30, 60, 120, 240, 1000)},
    "co-occurrence": {"by": ("user", "basket"), "half_life": (14, 60, 1000)},
    "EASE": {"penalty": (20, 50, 100, 200, 500), "half_life": (60, 1000)},
    "ALS": {"factors": (32, 64, 128), "strength": (1, 3)},
}
"""Half-lives are of days: how fast a popularity or what is in a history fades."""
LATELY = 7
"""Half-life of the popularity that stands behind what a shopper owns."""


def contender(name: str, setting: dict[str, Any], interactions: Interactions, cut: int) -> Model:
    """A baseline, fitted to what came before a moment; popularity goes on being counted, as a shop would."""
    past = interactions.before(cut)
    match name:
        case "popular":
            return Popular(Popularity(interactions, **setting))
        case "own":
            return Own(Popularity(interactions, LATELY), **setting)
        case "co-occurrence":
            return ItemItem(together(past, setting["by"]), setting["half_life"])
        case "EASE":
            return ItemItem(ease(past, setting["penalty"]), setting["half_life"])
        case _:
            return Als(past, **setting)


def choose(
    interactions: Interactions, cut: int, cases: Sequence[Case], console: Console
) -> dict[str, tuple[dict[str, Any], Figures]]:
    """Of each baseline the setting with the best sum of recall overall and of new products, and its figures.

    Args:
        interactions: all.
        cut: moment that they are fitted at.
        cases: after it.
        console: for the progress.
    """
    histories = [case.history for case in cases]
    tried = [
        (name, dict(zip(grid, values, strict=True)))
        for name, grid in GRIDS.items()
        for values in product(*grid.values())
    ]
    best: dict[str, tuple[dict[str, Any], Figures]] = {}
    with progress(console) as bar:
        for name, setting in bar.track(tried, description="choosing baselines"):
            figures = measure(cases, scored(contender(name, setting, interactions, cut), histories))
            if name not in best or _worth(figures) > _worth(best[name][1]):
                best[name] = (setting, figures)
    return best


def _worth(figures: Figures) -> float:
    return figures.mean("overall", "recall") + figures.mean("new", "recall")
