"""What a shop's visitors ask for: queries and products by their frequency, and kinds of requests in a shop's mix."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel, Field

from shelfbridge.client import SearchClient, ShopperClient
from shelfbridge.profiles import Event

Kind = Literal["search", "search_personal", "recommend", "events"]
MIX: dict[Kind, float] = {"search": 0.6, "search_personal": 0.1, "recommend": 0.2, "events": 0.1}
"""Share of each kind: most who look around have not signed in."""
RESTRICTED: tuple[Kind, ...] = ("search_personal", "recommend", "events")
"""What carries a shopper. Each is a model of its own, so that a site's counters tell them apart."""


class Shop(BaseModel):
    """What is asked for; kept as JSON, so that workers on other machines need neither catalogue nor release."""

    queries: list[str] = Field(min_length=1, description="the most frequent first")
    products: list[str] = Field(min_length=1, description="ids, the most looked at first")
    shoppers: list[str] = Field(min_length=1, description="ids of those who signed in")

    def query(self, chance: random.Random) -> str:
        """Return a query, the r-th as often as 1/r (Zipf's law, exponent 1)."""
        return chance.choices(self.queries, cum_weights=self._query_weights)[0]

    def product(self, chance: random.Random) -> str:
        """Return a product's id, by the same law."""
        return chance.choices(self.products, cum_weights=self._product_weights)[0]

    def shopper(self, chance: random.Random) -> str:
        """Return a shopper's id, each as likely as the others."""
        return chance.choice(self.shoppers)

    @cached_property
    def _query_weights(self) -> list[float]:
        return _zipf(self.queries)

    @cached_property
    def _product_weights(self) -> list[float]:
        return _zipf(self.products)


def _zipf(values: Sequence[str]) -> list[float]:
    return list(accumulate(1 / rank for rank in range(1, len(values) + 1)))


@dataclass(frozen=True)
class Visitor:
    """One who looks around; many share the two clients, as behind a shop's web server."""

    shop: Shop
    search: SearchClient
    shopper: ShopperClient

    def ask(self, kind: Kind, request_id: str, chance: random.Random) -> Mapping[str, float]:
        """Make one request, and return the milliseconds by step of the ensemble, as the server says.

        Raises:
            SearchError: as the clients' calls do.
        """
        if kind == "search":
            return self.search.search(self.shop.query(chance), request_id=request_id).steps
        if kind == "search_personal":
            query, user = self.shop.query(chance), self.shop.shopper(chance)
            return self.search.search(query, user=user, personal=True, request_id=request_id).steps
        if kind == "recommend":
            return self.shopper.recommend(user=self.shop.shopper(chance), request_id=request_id).steps
        user, product = self.shop.shopper(chance), self.shop.product(chance)
        viewed = Event(event_id=uuid4().hex, user=user, kind="view", product_id=product, time=time.time())
        self.shopper.send([viewed], request_id=request_id)
        return {}


def draw(mix: Mapping[Kind, float], chance: random.Random) -> Kind:
    """Return a kind, as often as the mix says."""
    return chance.choices(list(mix), list(mix.values()))[0]


def mix_of(restricted: float | None) -> dict[Kind, float]:
    """Return the shop's mix, with another share of what is restricted if one is given."""
    if restricted is None:
        return dict(MIX)
    return {kind: part for kind, part in reshared(MIX, RESTRICTED, restricted).items() if part}


def reshared(mix: Mapping[Any, float], restricted: Sequence[str], share: float) -> dict[Any, float]:
    """Return a mix in which what is restricted has another share, and the kinds among themselves the same."""
    usual = sum(part for kind, part in mix.items() if kind in restricted)
    factors = {True: share / usual, False: (1 - share) / (1 - usual)}
    return {kind: part * factors[kind in restricted] for kind, part in mix.items()}
