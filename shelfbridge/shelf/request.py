"""The checked form of a request for a shelf: what the profile step makes of the wire and every later step trusts."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import get_args

from pydantic import BaseModel, ConfigDict

from shelfbridge.contract import DEFAULT_K, Shelf
from shelfbridge.errors import InvalidQuery
from shelfbridge.request import Filters

MAX_ITEMS = 50
"""Products of a session."""
MAX_ID_BYTES = 256
KINDS: tuple[Shelf, ...] = get_args(Shelf)


class ShelfRequest(BaseModel):
    """A shelf that can be filled."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    kind: Shelf
    """What is shown: `popular` where nothing is known that another would be made of."""
    k: int = DEFAULT_K
    filters: Filters = Filters()
    with_row: int | None = None
    """Row of the product that the shelf stands beside."""
    with_payload: bool = False
    seed: int = 0
    """Of what is tried out; the same for a shopper for a day."""


def check_kind(raw: bytes | None, beside: bool) -> Shelf:
    """The kind of shelf that is asked for by its name, or the usual one, which may stand beside a product.

    Raises:
        InvalidQuery: no such kind, or `goes_with` without a product or a product without it.
    """
    if not raw:
        return "goes_with" if beside else "for_you"
    kind = next((kind for kind in KINDS if kind.encode() == raw), None)
    if kind is None:
        raise InvalidQuery(f"shelf: no such kind; ask for {', '.join(KINDS)}")
    if beside != (kind == "goes_with"):
        raise InvalidQuery("with_item and the shelf goes_with belong together; give both, or with_item alone")
    return kind


def tried(who: str, day: int) -> int:
    """A seed for what is tried out on somebody on a day."""
    return int.from_bytes(blake2b(f"{day} {who}".encode(), digest_size=4).digest(), "big")


def check_ids(name: str, raw: Sequence[bytes]) -> list[str]:
    """Product ids, without the empty ones.

    Raises:
        InvalidQuery: too many, too long or not UTF-8.
    """
    if len(raw) > MAX_ITEMS:
        raise InvalidQuery(f"{name} holds {len(raw)} products; send at most {MAX_ITEMS}, the latest last")
    if any(len(one) > MAX_ID_BYTES for one in raw):
        raise InvalidQuery(f"{name} holds a product id of more than {MAX_ID_BYTES} bytes; send ids of the catalogue")
    try:
        return [one.decode("utf-8") for one in raw if one]
    except UnicodeDecodeError:
        raise InvalidQuery(f"{name} holds a product id that is not UTF-8; encode it as UTF-8") from None
