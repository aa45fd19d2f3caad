"""The checked form of a search request: what preprocess makes of the wire and every later step trusts."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shelfbridge.contract import DEFAULT_K, MAX_K
from shelfbridge.errors import InvalidQuery

MAX_FILTER_BYTES = 4096


Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Filters(BaseModel):
    """Which products may be answered. All given conditions must hold; a product of unknown price fails any bound.

    `category` matches any part of a product's category path, `brand` its brand, both without regard to case.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    category: str | None = None
    brand: str | None = None
    price_min: Price | None = None
    price_max: Price | None = None
    in_stock: bool | None = None
    """True leaves out products whose stock is 0; a product of unknown stock stays."""

    @model_validator(mode="after")
    def _ordered(self) -> "Filters":
        if self.price_min is not None and self.price_max is not None and self.price_min > self.price_max:
            raise ValueError("price_min is above price_max")
        return self

    @classmethod
    def parse(cls, raw: bytes) -> "Filters":
        """Filters from their JSON form.

        Raises:
            InvalidQuery: not JSON, an unknown field, a wrong type, a price that is negative or not finite.
        """
        if len(raw) > MAX_FILTER_BYTES:
            raise InvalidQuery(f"filters are {len(raw)} bytes long; send at most {MAX_FILTER_BYTES}")
        try:
            return cls.model_validate_json(raw)
        except ValidationError as error:
            raise InvalidQuery(f"filters: {explain(error)}; known fields: {', '.join(cls.model_fields)}") from error


class SearchRequest(BaseModel):
    """A search that can be answered. `text` is normalised. Who asks is no part of it: only `profile` looks at that."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    text: str
    k: int = DEFAULT_K
    filters: Filters = Filters()
    with_payload: bool = False


def check_k(k: int) -> int:
    """`k`, if it lies in 1..MAX_K.

    Raises:
        InvalidQuery: it does not.
    """
    if not 1 <= k <= MAX_K:
        raise InvalidQuery(f"k is {k}; ask for 1 to {MAX_K} products")
    return k


def explain(error: ValidationError) -> str:
    """A pydantic error in one line: field and reason of each problem, without the values that were sent."""
    return "; ".join(
        f"{'.'.join(f'{part!s:.40}' for part in problem['loc']) or 'value'}: "
        f"{problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    )
