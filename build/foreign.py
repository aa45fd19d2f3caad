"""Pairs of a query and a product name from another shop: further supervision for the cross-encoder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shelfbridge.catalogue import Filled, Rejection, read_rows
from shelfbridge.errors import DataError
from shelfbridge.request import explain

_GAINS = {"relevant": 1.0, "not relevant": 0.0, "e": 1.0, "s": 0.1, "c": 0.01, "i": 0.0}


def _gain(label: object) -> object:
    return _GAINS.get(str(label).strip().casefold(), label)


class ForeignPair(BaseModel):
    """A query, a product's name, and how well it answers; `label` is Relevant, Not relevant, or E, S, C, I."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    query: Filled
    name: Filled
    gain: Annotated[float, BeforeValidator(_gain), Field(ge=0, le=1, alias="label")]


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
        raise DataError(f"{path}: no usable pair; a row needs query, name, and label (Relevant or Not relevant)")
    return ForeignPairs(tuple(good), tuple(rejected))
