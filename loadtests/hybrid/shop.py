"""What a shop's visitors ask for: queries by their frequency, products, and shoppers who signed in."""

import random
from bisect import bisect
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, ValidationError

from shelfbridge.errors import DataError
from shelfbridge.request import explain


class Shop(BaseModel):
    """Kept as JSON, so that workers on other machines need neither catalogue nor release."""

    queries: list[str] = Field(min_length=1, description="the most frequent first")
    products: list[str] = Field(min_length=1, description="ids, the most looked at first")
    shoppers: list[str] = Field(min_length=1, description="ids of those who signed in")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read one.

        Raises:
            DataError: the file cannot be read, or something is missing in it.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}; write it with python -m loadtests.hybrid shop") from error
        except ValidationError as error:
            raise DataError(f"{path}: {explain(error)}; write it with python -m loadtests.hybrid shop") from error

    def query(self, chance: random.Random) -> str:
        """A query."""
        return _zipf(self.queries, self._weights, chance)

    def product(self, chance: random.Random) -> str:
        """A product's id."""
        return _zipf(self.products, self._product_weights, chance)

    def shopper(self, chance: random.Random) -> str:
        """A shopper's id, each as likely as the others."""
        return chance.choice(self.shoppers)

    @cached_property
    def _weights(self) -> list[float]:
        return _cumulated(len(self.queries))

    @cached_property
    def _product_weights(self) -> list[float]:
        return _cumulated(len(self.products))


def _cumulated(count: int) -> list[float]:
    return list(accumulate(1 / rank for rank in range(1, count + 1)))


def _zipf(values: Sequence[str], cumulated: Sequence[float], chance: random.Random) -> str:
    """One of them, the r-th as often as 1/r (Zipf's law, exponent 1)."""
    return values[bisect(cumulated, chance.random() * cumulated[-1])]
