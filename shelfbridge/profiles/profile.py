"""What is known of a shopper."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from shelfbridge.profiles.events import Kind

RECENT = 100
"""Latest events that a profile holds."""
BOUGHT = 1000
"""Products bought that a profile holds, those bought latest."""


@dataclass(frozen=True, slots=True)
class Recent:
    """A product met lately; `time` in seconds since 1970."""

    product_id: str
    kind: Kind
    time: float
    quantity: int = 1
    context: str | None = None


@dataclass(frozen=True, slots=True)
class Bought:
    """How a product was bought: how often, how many pieces in all, and when, in seconds since 1970."""

    times: int
    quantity: int
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Profile:
    """A shopper: what they did, latest first (of one time, what came in later), and what they bought by product id.

    A stranger's is empty.
    """

    recent: tuple[Recent, ...] = ()
    bought: Mapping[str, Bought] = field(default_factory=dict)

    @property
    def record(self) -> dict[str, list[dict[str, Any]]]:
        """The same as JSON has it, what was bought in the order of the product ids."""
        bought = [{"product_id": product_id} | asdict(how) for product_id, how in sorted(self.bought.items())]
        return {"recent": [asdict(one) for one in self.recent], "bought": bought}
