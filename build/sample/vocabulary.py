"""The words of the sample, read from `data/*.toml`: shelves, product types and how each trait is said and asked for.

The prose is data so that a department can be added or reworded without touching the generator.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from shelfbridge.errors import DataError


def _split(text: object) -> object:
    return tuple(part.strip() for part in text.split("|")) if isinstance(text, str) else text


COMMON = ("series", "titles", "asides", "more", "less")
"""What a shelf without its own takes from `common.toml`."""
Words = Annotated[tuple[str, ...], BeforeValidator(_split)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Value(_Entry):
    """One value of a trait: how a label, a bullet and a shopper word it, and how a shopper rules it out."""

    title: Words = ()
    says: Words = ()
    asks: Words
    deny: Words = ()


class Unit(_Entry):
    """Ways to write a quantity: a pattern, and what the amount is multiplied by."""

    forms: tuple[tuple[str, float], ...]

    def write(self, amount: float) -> tuple[str, ...]:
        """Every way to write the amount ("1.5 L", "1500 ml")."""
        return tuple(form.format(f"{_rounded(amount, factor):g}") for form, factor in self.forms)


def _rounded(amount: float, factor: float) -> float:
    """The amount in another unit, as a label would round it."""
    converted = amount * factor
    return amount if factor == 1 else round(converted) if converted >= 100 else round(converted, 1 + (converted < 10))


class Number(_Entry):
    """A trait that is a quantity."""

    unit: str
    values: tuple[float, ...]
    says: Words


class ProductType(_Entry):
    """A kind of product: its names on labels and in queries, its place, price range, traits and neighbours."""

    names: Words
    asked: Words
    hints: Words
    broad: Words = ()
    path: tuple[str, ...]
    price: tuple[float, float]
    traits: tuple[str, ...]
    complements: tuple[str, ...] = ()
    close: tuple[str, ...] = ()
    runs_out: bool = False


class Shelf(_Entry):
    """One data file."""

    department: str = ""
    language: str = "en"
    brands: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    titles: Words = ()
    asides: Words = ()
    more: Words = ()
    less: Words = ()
    types: dict[str, ProductType] = {}
    traits: dict[str, dict[str, Value]] = {}
    units: dict[str, Unit] = {}
    numbers: dict[str, Number] = {}


@dataclass(frozen=True)
class Vocabulary:
    """All shelves together. A number is a trait whose values are its amounts, written as text."""

    types: dict[str, ProductType]
    traits: dict[str, dict[str, Value]]
    numbers: frozenset[str]
    shelf_of: dict[str, Shelf]

    def is_use(self, trait: str) -> bool:
        """Whether a product may have several of its values."""
        return trait.endswith("_use")

    def language(self, kind: str) -> str:
        """Language code of a product type."""
        return self.shelf_of[kind].language

    def complements(self, kind: str) -> frozenset[str]:
        """Types that go with this one; it holds both ways."""
        return frozenset(self.types[kind].complements) | {
            other for other, entry in self.types.items() if kind in entry.complements
        }


def _number_values(number: Number, unit: Unit) -> dict[str, Value]:
    values = {}
    for amount in number.values:
        forms = unit.write(amount)
        says = tuple(sentence.format(form) for sentence in number.says for form in forms if "-" not in form)
        values[f"{amount:g}"] = Value(title=forms, says=says, asks=forms)
    return values


@cache
def load() -> Vocabulary:
    """Every shelf of the package's data.

    Raises:
        DataError: a trait is defined twice, or a type names a trait or type that no shelf defines.
    """
    files = sorted((Path(__file__).parent / "data").glob("*.toml"))
    shelves = {file.stem: Shelf.model_validate(tomllib.loads(file.read_text(encoding="utf-8"))) for file in files}
    common = shelves["common"]
    units = {name: unit for shelf in shelves.values() for name, unit in shelf.units.items()}
    types: dict[str, ProductType] = {}
    traits: dict[str, dict[str, Value]] = {}
    shelf_of: dict[str, Shelf] = {}
    for name, shelf in shelves.items():
        of_shelf = shelf.traits | {key: _number_values(n, units[n.unit]) for key, n in shelf.numbers.items()}
        twice = (traits.keys() & of_shelf.keys()) | (types.keys() & shelf.types.keys())
        if twice:
            raise DataError(f"{name}.toml: {', '.join(sorted(twice))} is defined on another shelf; rename it")
        traits |= of_shelf
        types |= shelf.types
        shared = {key: getattr(shelf, key) or getattr(common, key) for key in COMMON}
        shelf_of |= dict.fromkeys(shelf.types, shelf.model_copy(update=shared))
    for key, kind in types.items():
        unknown = ({*kind.traits} - traits.keys()) | ({*kind.complements, *kind.close} - types.keys())
        if unknown:
            raise DataError(
                f"type {key}: {', '.join(sorted(unknown))} is defined on no shelf; define it or leave it out"
            )
    return Vocabulary(types, traits, frozenset(key for s in shelves.values() for key in s.numbers), shelf_of)
