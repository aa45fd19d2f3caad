"""Pairs of a query and a product name from another shop: further supervision for the cross-encoder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from shelfbridge.catalogue import Filled, Label, Rejection, read_rows
from shelfbridge.errors import DataError
from shelfbridge.request import explain

NAMES = {
    "exact": Label.EXACT,
    "relevant": Label.EXACT,
    "substitute": Label.SUBSTITUTE,
    "partial": Label.SUBSTITUTE,
    "complement": Label.COMPLEMENT,
    "irrelevant": Label.IRRELEVANT,
    "not relevant": Label.IRRELEVANT,
}
"""Other shops' names of the labels; their gains are the shop's own."""


def _label(label: object) -> object:
    name = str(label).strip()
    try:
        return NAMES.get(name.casefold()) or Label(name.upper())
    except ValueError:
        return label


class ForeignPair(BaseModel):
    """A query, a product's name, and how well it answers; `label` is E, S, C or I, or one of `NAMES`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    query: Filled
    name: Filled
    label: Annotated[Label, BeforeValidator(_label)]

    @property
    def gain(self) -> float:
        """Its gain, the same as in the shop's own judgments."""
        return self.label.gain


@dataclass(frozen=True)
class ForeignPairs:
    """Pairs in file order, and what was left out."""

    rows: tuple[ForeignPair, ...] = ()
    rejected: tuple[Rejection, ...] = ()


def read_pairs(path: Path) -> ForeignPairs:
    """Pairs of a CSV, TSV, JSON-lines or Parquet file with the columns query, name and label.

    Raises:
        DataError: the file is missing, unreadable, without a needed column, or without one good row.
    """
    good: list[ForeignPair] = []
    rejected: list[Rejection] = []
    for line, row in read_rows(path, needed=("query", "name", "label")):
        try:
            good.append(ForeignPair.model_validate(row))
        except ValidationError as error:
            rejected.append(Rejection(line, row if isinstance(row, str) else explain(error)))
    if not good:
        raise DataError(f"{path}: no usable pair; a row needs query, name, and label (E, S, C or I)")
    return ForeignPairs(tuple(good), tuple(rejected))
