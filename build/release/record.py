"""What a release's manifest says of the run that made it: as a model card, and beside another release's.

python -m build diff out/releases/3 out/releases/4
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from build.declaration import differences
from build.evaluation.report import table
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.measure.report import MEAN, Table, cell
from shelfbridge.release import read_manifest

CARD = "model_card.md"
UNSAID = ("files", "release", "figures")
"""Parts of a manifest whose leaves a comparison does not list: digests, and figures, which have a table."""


def data_report(catalogue: Catalogue, judgments: Judgments) -> dict[str, Any]:
    """Return how much there was to learn from, to choose by and to report on."""
    splits = {split: judgments.of(split) for split in ("train", "dev", "test")}
    return {
        "products": len(catalogue.products),
        "products_rejected": len(catalogue.rejected),
        "judgments_rejected": len(judgments.rejected),
        **{f"{split}_queries": len(some.queries) for split, some in splits.items()},
        **{f"{split}_judgments": len(some.rows) for split, some in splits.items()},
    }


def card(manifest: Mapping[str, Any]) -> str:
    """Return the model card of a release: what it is for, what it learned from, how good it is, what was decided."""
    decided = [(name, "yes" if one["passed"] else "no", one["reason"]) for name, one in manifest["decisions"].items()]
    parts = [
        f"# Release {manifest['release']}",
        "Search and, where there are shelves, recommendation in one shop's catalogue. The networks know this shop's "
        "products and its shoppers' words; for another catalogue build another release.",
        f"Encoder from {manifest['base']}, cross-encoder from {manifest['teacher']}, fine-tuned on the shop's "
        "judgments and its products' own words.",
        "## Data",
        str(Table(("what", "count"), [(name.replace("_", " "), f"{n:,}") for name, n in manifest["shop"].items()])),
        "## Figures",
        table(manifest["figures"]).strip(),
        "## Decisions",
        str(Table(("candidate", "served", "why"), decided)),
        "## Settings",
        f"```json\n{json.dumps(manifest['settings'], indent=1)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def compared(one: Path, other: Path) -> str:
    """Return what is another in a release than in one before it: its figures, and then everything else.

    Raises:
        ArtefactError: a folder is no release.
    """
    before, after = read_manifest(one), read_manifest(other)
    told = differences(*({key: part for key, part in each.items() if key not in UNSAID} for each in (before, after)))
    head = ("nDCG@10", f"release {before['release']}", f"release {after['release']}")
    return "\n".join([str(Table(head, list(_figures(before, after)))), "", *told]) + "\n"


def _figures(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    stages = [each.get("figures", {}).get("stages", {}) for each in (before, after)]
    for stage in dict.fromkeys((*stages[0], *stages[1])):
        one, other = (cell(MEAN, each[stage]["nDCG@10"]) if stage in each else "" for each in stages)
        yield stage, one, other
