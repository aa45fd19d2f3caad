"""What a visitor does next, in the proportions of a shop."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from loadtests.hybrid.shop import Shop
from shelfbridge.client import SearchClient, ShopperClient
from shelfbridge.profiles import Event

Kind = Literal["search", "search_personal", "recommend", "events"]
MIX: dict[Kind, float] = {"search": 0.6, "search_personal": 0.1, "recommend": 0.2, "events": 0.1}
"""Share of each kind: most who look around have not signed in."""
RESTRICTED: tuple[Kind, ...] = ("search_personal", "recommend", "events")
"""What carries a shopper. Each is a model of its own, so that a site's counters tell them apart."""
Steps = Mapping[str, float]
"""Milliseconds by step of the ensemble, as the server says."""


@dataclass(frozen=True)
class Visitor:
    """One who looks around; many share the two clients, as behind a shop's web server."""

    shop: Shop
    search: SearchClient
    shopper: ShopperClient
    chance: random.Random

    def ask(self, kind: Kind, request_id: str) -> Steps:
        """Make one request.

        Raises:
            SearchError: as the clients' calls do.
        """
        return _ASKED[kind](self, request_id)

    def _search(self, request_id: str) -> Steps:
        return self.search.search(self.shop.query(self.chance), request_id=request_id).steps

    def _search_personal(self, request_id: str) -> Steps:
        query, user = self.shop.query(self.chance), self.shop.shopper(self.chance)
        return self.search.search(query, user=user, personal=True, request_id=request_id).steps

    def _recommend(self, request_id: str) -> Steps:
        return self.shopper.recommend(user=self.shop.shopper(self.chance), request_id=request_id).steps

    def _events(self, request_id: str) -> Steps:
        viewed = Event(
            event_id=uuid4().hex,
            user=self.shop.shopper(self.chance),
            kind="view",
            product_id=self.shop.product(self.chance),
            time=time.time(),
        )
        self.shopper.send([viewed], request_id=request_id)
        return {}


_ASKED: dict[Kind, Callable[[Visitor, str], Steps]] = {
    "search": Visitor._search,
    "search_personal": Visitor._search_personal,
    "recommend": Visitor._recommend,
    "events": Visitor._events,
}


def draw(mix: Mapping[Kind, float], chance: random.Random) -> Kind:
    """A kind, as often as the mix says."""
    return chance.choices(list(mix), list(mix.values()))[0]
