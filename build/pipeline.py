"""From a shop's data to a published release: the originals, what compression makes of them, the best that passes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from build.data.foreign import ForeignPairs
from build.declaration import Stage
from build.release.served import Served
from build.settings import Settings
from build.shop import Shop
from build.stages import Originals, Stages
from build.workspace import Workspace
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.errors import SettingsError


@dataclass(frozen=True)
class Plan:
    """All stages of a build, in an order in which they can run, and which of them go into a release."""

    stages: Stages
    originals: Originals
    parts: dict[str, Stage]
    """By model, what goes into its version folder."""
    shelf: Stage | None
    evaluation: Stage
    """Of what goes into the release."""

    @classmethod
    def of(cls, shop: Shop) -> "Plan":
        """The plan for a shop. No data are read."""
        stages, settings = Stages(shop), shop.settings
        if settings.encoder_student or settings.cross_encoder_student:
            _ = stages.prunable
        made = stages.originals
        networks = Served(stages)
        _ = networks.gate
        shelf = stages.shelf() if shop.behaviour is not None else None
        served = {
            "preprocess": made.tokenizer,
            "retrieve": made.retrieve,
            "shortlist": made.pieces,
            "postprocess": made.store,
            **networks.parts,
        }
        return cls(stages, made, served, shelf, stages.evaluation(networks.parts))

    @property
    def all(self) -> list[Stage]:
        """All stages, those that others read first."""
        return list(self.stages.declared.values())

    def named(self, name: str) -> Stage:
        """A stage by its name.

        Raises:
            SettingsError: there is none of that name.
        """
        check_name(name, self.stages.declared)
        return self.stages.declared[name]


def check_name(name: str, declared: Sequence[str] | dict[str, Stage]) -> None:
    """Refuse a name that no stage has.

    Raises:
        SettingsError: none has.
    """
    if name not in declared:
        raise SettingsError(f"there is no stage {name!r} in this build; its stages are {', '.join(declared)}")


def names(settings: Settings, *, shelf: bool) -> list[str]:
    """What the stages of a build are called, without its data."""
    anything: Any = object()
    shop = Shop(
        Catalogue(()),
        Judgments(()),
        ForeignPairs(),
        "",
        settings,
        Console(quiet=True),
        behaviour=anything if shelf else None,
    )
    return list(Plan.of(shop).stages.declared)


def build(out: Path, shop: Shop, again: str | None = None) -> tuple[Path, str]:
    """Run all stages, measure what passed, and publish it as a release.

    Args:
        out: results of stages and releases go there.
        shop: what to build from.
        again: the stage from which on everything is made anew.

    Returns:
        Folder of the release, and its figures as a table. Its manifest is the record of the run: data, settings,
        figures with their intervals, and under `decisions` what passed the gate and what did not.

    Raises:
        ArtefactError: a network cannot be used, or what the caller asked for by name does not pass; what was current
            stays.
    """
    space, plan, settings = Workspace(out / "stages", shop.console), Plan.of(shop), shop.settings
    if again is not None:
        plan.named(again)
        space.forget(plan.stages.after([again]))
    folders = {stage.name: space.run(stage) for stage in plan.all}
    from build.release import gate  # takes seconds to import, as what follows does
    from build.release import publish as release
    from build.release.record import data_report
    from build.shelf.learn import PARTS_OF_RELEASE, RECORD

    parts = {model: folders[stage.name] for model, stage in plan.parts.items()}
    figures = folders[plan.evaluation.name]
    about: dict[str, object] = {}
    if plan.shelf is not None:
        learned = folders[plan.shelf.name]
        parts |= {part: learned / part for part in PARTS_OF_RELEASE}
        about["shelf"] = json.loads((learned / RECORD).read_text())
    made = release.publish(
        out / "releases",
        parts=parts,
        extra={
            "lengths.json": folders["feeds"] / "lengths.json",
            release.PRODUCT_ENCODER: folders[plan.originals.encoder_graph.name] / "model.onnx",
        },
        about={
            "base": settings.base,
            "teacher": settings.teacher or settings.base,
            "data": shop.data,
            "shop": {**data_report(shop.catalogue, shop.judgments), "pairs_of_another_shop": len(shop.foreign.rows)},
            "settings": settings.model_dump(mode="json"),
            "figures": json.loads((figures / "evaluation.json").read_text()),
            "originals": {one.name: f"{one.name}/{folders[one.name].name}" for one in plan.originals.networks},
            "decisions": {name: one for folder in folders.values() for name, one in gate.read(folder).items()},
            **about,
        },
        since=shop.written,
    )
    return made, (figures / "evaluation.md").read_text()
