"""What a sweep has measured so far, and what follows from it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from shelfbridge.errors import DataError

CLIENTS = (1, 4, 16)
Point = dict[str, float]
Settings = dict[str, Any]
"""Of a variant: `steps`, "together" or "apart", and what axes.toml names where it is changed."""


def name_of(settings: Settings) -> str:
    """The settings of a variant in words."""
    return ", ".join([settings["steps"], *(f"{key}={value}" for key, value in changes(settings).items())])


def changes(settings: Settings) -> Settings:
    """What is not as the release and the server have it, but for the way of the steps."""
    return {name: value for name, value in settings.items() if value is not None and name != "steps"}


@dataclass
class Sweep:
    """A record and where it is kept; it is written after every round."""

    file: Path
    record: dict[str, Any]
    _refused: set[str] = field(default_factory=set)
    """Names of variants that could not be served in this run; the next one tries them again."""

    @classmethod
    def open(cls, file: Path, about: Mapping[str, Any]) -> "Sweep":
        """Go on with a record, or begin one.

        Raises:
            DataError: the record is of another release, machine or load.
        """
        if not file.is_file():
            return cls(file, {**about, "clients": list(CLIENTS), "variants": {}})
        record = json.loads(file.read_text())
        other = [key for key, value in about.items() if record.get(key) != value]
        if other:
            raise DataError(f"{file} was measured with another {', '.join(other)}; give another --out, or delete it")
        return cls(file, record)

    def missing(self, variants: Sequence[Settings], rounds: int) -> Iterator[Settings]:
        """What is still to be measured, each variant once a round."""
        for number in range(1, rounds + 1):
            for variant in variants:
                new: dict[str, Any] = {"settings": variant, "rounds": [], "refused": ""}
                seen = self.record["variants"].setdefault(name_of(variant), new)
                if name_of(variant) not in self._refused and len(seen["rounds"]) < number:
                    yield variant

    def add(self, variant: Settings, points: list[Point] | None, refused: str = "") -> None:
        """Keep a round, or why there is none."""
        seen = self.record["variants"][name_of(variant)]
        seen["refused"] = refused
        if points:
            seen["rounds"].append(points)
        else:
            self._refused.add(name_of(variant))
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(self.record, indent=2) + "\n")
        part.replace(self.file)


def summaries(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Medians over the rounds of each measured variant, with the searches/s of each; a point a client count."""
    rows = {}
    for name, seen in record["variants"].items():
        if seen["rounds"]:
            points = []
            for at, clients in enumerate(record["clients"]):
                taken = [one[at] for one in seen["rounds"]]
                figures = {key: float(np.median([point[key] for point in taken])) for key in taken[0]}
                rates = [point["per_second"] for point in taken]
                points.append({**figures, "clients": clients, "rates": rates})
            rows[name] = {"settings": seen["settings"], "points": points, "rounds": len(seen["rounds"])}
    return rows


def noise(rows: Mapping[str, Any]) -> float:
    """Return by which factor the searches/s of two equal settings differ by chance, less 1 (95 %), under most load.

    It comes from the rounds of each variant, which are repetitions with equal settings: their standard deviation,
    pooled over the variants, makes that of a difference of two medians. It is infinite where no variant has two rounds.
    """
    rates = [np.log(row["points"][-1]["rates"]) for row in rows.values()]
    freedom = sum(len(some) - 1 for some in rates)
    if not freedom:
        return float("inf")
    deviation = np.sqrt(sum(float(((some - some.mean()) ** 2).sum()) for some in rates) / freedom)
    rounds = min(map(len, rates))
    of_median = deviation * np.sqrt(min(1.0, np.pi / (2 * rounds)))
    return float(np.expm1(stats.t.ppf(0.975, freedom) * np.sqrt(2) * of_median))


def choice(rows: Mapping[str, Any]) -> str:
    """Return the variant to serve: of those within noise of the most searches/s under most load, the least p99 there.

    Where the noise is not known, it is that of the most searches/s.
    """
    best = max(row["points"][-1]["per_second"] for row in rows.values())
    known = noise(rows)
    least = best / (1 + known) if np.isfinite(known) else best
    near = [name for name, row in rows.items() if row["points"][-1]["per_second"] >= least]
    return min(near, key=lambda name: rows[name]["points"][-1]["p99"])


def base_of(rows: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the row of the release's own settings, run in the better way; None where neither was measured."""
    bases = [row for row in rows.values() if not changes(row["settings"])]
    return max(bases, key=lambda row: row["points"][-1]["per_second"], default=None)


def gain(row: Mapping[str, Any], base: Mapping[str, Any]) -> float:
    """Return the searches/s under most load over the base's, less 1."""
    return float(row["points"][-1]["per_second"] / base["points"][-1]["per_second"] - 1)


def combined(rows: Mapping[str, Any]) -> Settings | None:
    """Return the changes that gained more than noise, in one variant; None where there are fewer than two."""
    base, known = base_of(rows), noise(rows)
    if base is None:
        return None
    gains: dict[str, tuple[float, Any]] = {}
    for row in rows.values():
        changed = changes(row["settings"])
        if row["settings"]["steps"] == base["settings"]["steps"] and len(changed) == 1 and gain(row, base) > known:
            ((axis, value),) = changed.items()
            gains[axis] = max(gains.get(axis, (0.0, None)), (gain(row, base), value), key=lambda pair: pair[0])
    if len(gains) < 2:
        return None
    return {**base["settings"], **{axis: value for axis, (_, value) in gains.items()}}
