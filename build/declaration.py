"""What a stage of a build is: everything that its result depends on, written down by whoever writes the stage.

A stage runs again when its version, an input, a parameter, the version of a library that does its arithmetic or, where
it learns, the kind of device is another than before. Nothing is found out by looking at code: a changed comment runs
nothing again, and whoever changes what a stage computes raises its version.

An input counts by its content. A stage that is made again with the same result does not run those after it.
"""

import os
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

Recipe = dict[str, Any]
"""All that a result was made from, as JSON."""
UNNEEDED = "unneeded"
"""File in a result that says: stages that were to come only after it have nothing to do."""


@dataclass(frozen=True, eq=False)
class Data:
    """Something that a stage reads besides other stages: made when it is first needed, told from others by a digest."""

    make: Callable[[], Any]
    digest: Callable[[Any], str]

    @cached_property
    def value(self) -> Any:
        """What the stage is given."""
        return self.make()

    @cached_property
    def identity(self) -> str:
        """Digest of its content."""
        return self.digest(self.value)


@dataclass(frozen=True, eq=False)
class Stage:
    """One step of a build."""

    name: str
    """Shown, and the name of the folder of its results."""
    work: str
    """Function that fills the result's folder, as `package.module:name`. It is imported when the stage runs, and called
    with the folder and with all inputs, parameters and `given` by their names."""
    version: int
    """Raised by hand when the stage computes something else from the same inputs."""
    inputs: Mapping[str, "Stage | Data"] = field(default_factory=dict)
    """A stage is given to the function as the folder of its result, data as its value."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Count by their values."""
    counted: Mapping[str, Data] = field(default_factory=dict)
    """Files that the function finds by way of a parameter: they count, and are not given."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """What does not have it run again: where progress is shown, or the result of a stage that it takes as it is that
    day."""
    libraries: tuple[str, ...] = ()
    """Distributions that do its arithmetic."""
    learns: bool = False
    """Whether the kind of device changes the result."""
    only_after: "Stage | None" = None
    """A stage that may find this one unneeded: then nothing is made but a file that says so."""

    @property
    def before(self) -> dict[str, "Stage"]:
        """The stages that it reads, by the names that it knows them by."""
        return {name: one for name, one in self.inputs.items() if isinstance(one, Stage)}

    @cached_property
    def unneeded(self) -> "Stage":
        """What takes its place where it has nothing to do."""
        return Stage(self.name, f"{__name__}:say_unneeded", 1)

    def recipe(self, contents: Mapping[str, str]) -> Recipe:
        """All that the result depends on.

        Args:
            contents: digests of the results of the stages before, by the names that this one knows them by.
        """
        data = {name: one for name, one in self.inputs.items() if isinstance(one, Data)} | dict(self.counted)
        return {
            "version": self.version,
            "inputs": {**contents, **{name: one.identity for name, one in data.items()}},
            "parameters": to_jsonable_python(dict(self.parameters)),
            "libraries": {name: installed(name) for name in self.libraries},
            "arithmetic": {"device": device()} if self.learns else {},
        }

    def fill(self, folder: Path, before: Mapping[str, Path]) -> None:
        """Make the result.

        Args:
            folder: to write to.
            before: results of the stages before, those given among them, by the names that this one knows them by.
        """
        data = {name: one.value for name, one in self.inputs.items() if isinstance(one, Data)}
        given = {name: one for name, one in self.given.items() if not isinstance(one, Stage)}
        pkgutil.resolve_name(self.work)(folder, **before, **data, **self.parameters, **given)


def say_unneeded(folder: Path) -> None:
    """Write the file that says that nothing comes of a result."""
    (folder / UNNEEDED).touch()


@cache
def installed(distribution: str) -> str:
    """Version of an installed distribution, "absent" where there is none."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"


def device() -> str:
    """The kind of device that training runs on, `cpu` or `cuda`, found out without importing a library that does it."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    there = Path("/dev/nvidiactl").exists() and not installed("torch").endswith("+cpu")
    return "cuda" if there and not hidden else "cpu"


def differences(before: Recipe, after: Recipe) -> Iterator[str]:
    """What is another in one recipe than in an earlier one, a line for each."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            group, _, rest = name.partition(".")
            what = {"inputs": "input", "parameters": "parameter", "libraries": "library"}.get(group, "")
            told = f"{what} {rest}" if what and rest else name
            if group == "inputs" and name in old and name in new:
                yield f"{told} changed"
            else:
                yield f"{told}: {_shown(old, name)} -> {_shown(new, name)}"


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(one, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _shown(leaves: Mapping[str, Any], name: str) -> str:
    return f"{leaves[name]!s:.80}" if name in leaves else "nothing"
