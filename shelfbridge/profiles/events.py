"""What shoppers do, as it comes in: checked row by row, so that a bad one does not cost the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from shelfbridge.errors import InvalidEvents
from shelfbridge.request import explain

MAX_ROWS = 1000
MAX_BYTES = 1_000_000
"""Most rows and bytes of a batch; a larger one is refused before it is read."""
MAX_ROW_BYTES = 16_384
"""Of a row; a longer one is refused alone, and does not count among the batch's. The longest event has half of it."""
MAX_AHEAD = 300.0
"""Seconds that the clock of a sender may be ahead."""

Kind = Literal["view", "click", "cart", "buy", "remove"]
"""`remove` is out of the cart."""
ProductId = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^\P{Cc}*$")]
Hidden = Annotated[str, StringConstraints(pattern=r"^[a-z2-7]{26}$")]
"""What `Pseudonyms` makes of an id."""


def _short(user: str) -> str:
    if not 1 <= len(user.encode()) <= 256:
        raise ValueError("has to be 1 to 256 bytes of UTF-8")
    return user


class Deed(BaseModel):
    """What was done with a product, by whomever.

    `time` is in seconds since 1970, UTC; `context` is the product beside which `product_id` was shown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    kind: Kind
    product_id: ProductId
    quantity: Annotated[int, Field(ge=1, le=10_000)] = 1
    time: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    context: ProductId | None = None


class Event(Deed):
    """A deed as the shop tells it. `user` is the shop's own id and leaves no trace in a repr or a message."""

    event_id: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,64}$"), Field(repr=False)]
    user: Annotated[str, AfterValidator(_short), Field(repr=False)]


class Recorded(Deed):
    """An event as it is kept: `who` is the user's pseudonym, `id` stands for the event's id."""

    who: Hidden
    id: Hidden


@dataclass(frozen=True)
class Refused:
    """A row left out: its place in the batch, from 0, and why, in words that quote nothing of it."""

    place: int
    reason: str


def read_events(rows: Sequence[bytes], now: float) -> tuple[list[Event], list[Refused]]:
    """The events of a batch, one JSON object a row, and the rows that are none.

    Args:
        rows: as they came in.
        now: seconds since 1970; no event may happen more than `MAX_AHEAD` after it. How old one may be, the store says.

    Raises:
        InvalidEvents: the batch is too large.
    """
    if len(rows) > MAX_ROWS:
        raise InvalidEvents(f"the batch has {len(rows):,} events; send at most {MAX_ROWS:,} at a time")
    if (size := sum(len(row) for row in rows if len(row) <= MAX_ROW_BYTES)) > MAX_BYTES:
        raise InvalidEvents(f"the batch is {size:,} bytes long; send at most {MAX_BYTES:,} at a time")
    good, refused = [], []
    for place, row in enumerate(rows):
        try:
            good.append(_event(row, now))
        except ValueError as error:  # pydantic's are among them
            refused.append(Refused(place, explain(error) if isinstance(error, ValidationError) else str(error)))
    return good, refused


def _event(row: bytes, now: float) -> Event:
    """The event of a row; a ValueError says why there is none."""
    if len(row) > MAX_ROW_BYTES:
        raise ValueError(f"it is {len(row):,} bytes long; an event has at most {MAX_ROW_BYTES:,}")
    try:
        event = Event.model_validate_json(row)
    except ValidationError as error:
        if any(problem["type"] == "extra_forbidden" for problem in error.errors(include_input=False)):
            known = ", ".join(Event.model_fields)  # the name of the other may be a user's
            raise ValueError(f"a field that events do not have; theirs are {known}") from None
        raise
    if event.time > now + MAX_AHEAD:
        ahead = f"time: {event.time - now:,.0f} seconds in the future"
        raise ValueError(f"{ahead}; set the sender's clock (seconds since 1970, UTC)")
    return event
