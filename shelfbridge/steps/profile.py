"""First step of a shelf: refuse what cannot be answered, and find out who asks and what they did lately.

Everything that a caller of a shelf sends is checked here and only here. In `search_personal` this step says who
searches; what they search was checked before it.
"""

import numpy as np

from shelfbridge.contract import (
    DEFAULT_K,
    EVENT_AGES,
    EVENT_KINDS,
    EVENT_MASK,
    EVENT_VECTORS,
    FILTERS,
    ITEMS,
    SHELF,
    SHELF_EVENTS,
    SHELF_REQUEST,
    SHELF_WIDTH,
    SHOPPER,
    TIMELINE,
    USER,
    USER_TOKEN,
    WITH_ITEM,
    WITH_PAYLOAD,
    K,
)
from shelfbridge.errors import InvalidQuery, StoreUnavailable
from shelfbridge.profiles import Profile as Record
from shelfbridge.profiles.access import check_user
from shelfbridge.release import Snapshot
from shelfbridge.request import Filters, check_k
from shelfbridge.shelf.assortment import Assortment
from shelfbridge.shelf.gather import shown
from shelfbridge.shelf.history import DAY, History
from shelfbridge.shelf.request import ShelfRequest, check_ids, check_kind, tried
from shelfbridge.shelf.shopper import beside, dump, shopper_of
from shelfbridge.steps.step import Inputs, Outputs, Step, strings
from shelfbridge.warn import warn


class Profile(Step):
    """Who asks for a shelf, and for which."""

    name = "profile"
    reads = ("assortment",)

    def answer(self, inputs: Inputs, now: Snapshot) -> Outputs:
        """As `Step.answer`."""
        assortment, time = now.assortment, int(self.services.clock())
        user, items = check_user(inputs.value(USER)), _items(inputs)
        if inputs.get(TIMELINE) is not None and not (user or items):
            raise InvalidQuery("personal search needs a user or items; send one, or search without")
        with_row = _with_row(inputs, assortment)
        asked = check_kind(inputs.value(SHELF), beside=with_row is not None)
        k, filters = check_k(inputs.value(K, DEFAULT_K)), Filters.parse(inputs.value(FILTERS) or b"{}")
        who = self.services.access.who(user, inputs.text(USER_TOKEN)) if user else ""
        shopper = shopper_of(self._record(who), items, assortment.row, time)
        request = ShelfRequest(
            kind=shown(asked, shopper, assortment, filters),
            k=k,
            filters=filters,
            with_row=with_row,
            with_payload=inputs.value(WITH_PAYLOAD, False),
            seed=tried(who or "\n".join(items), time // DAY),
        )
        met = shopper if with_row is None else beside(shopper, with_row)
        return {SHELF_REQUEST: strings([request.model_dump_json()]), SHOPPER: strings([dump(shopper)])} | events(
            met.recent.latest(SHELF_EVENTS), assortment
        )

    def _record(self, who: str) -> Record:
        """Return what is known of a shopper; nothing where the store is away, as a shelf must be filled."""
        try:
            return self.services.access.store.profile(who) if who else Record()
        except StoreUnavailable as error:
            warn(f"{error}; shelves go on as if nobody were known")
            return Record()


def events(history: History, assortment: Assortment) -> Outputs:
    """Return what the user encoder reads: at least one event, which may be none."""
    if not len(history):
        return {
            EVENT_VECTORS: np.zeros((1, SHELF_WIDTH), np.float32),
            EVENT_AGES: np.zeros(1, np.float32),
            EVENT_KINDS: np.zeros(1, np.int64),
            EVENT_MASK: np.zeros(1, np.int64),
        }
    return {
        EVENT_VECTORS: assortment.vectors[history.items],
        EVENT_AGES: history.ages,
        EVENT_KINDS: history.kinds,
        EVENT_MASK: np.ones(len(history), np.int64),
    }


def _items(inputs: Inputs) -> list[str]:
    given = inputs.get(ITEMS)
    return [] if given is None else check_ids(ITEMS.name, given.tolist())


def _with_row(inputs: Inputs, assortment: Assortment) -> int | None:
    named = check_ids(WITH_ITEM.name, [inputs.value(WITH_ITEM) or b""])
    if not named:
        return None
    row = assortment.row(named[0])
    if row < 0:
        raise InvalidQuery("with_item is no product of the catalogue; send the id of one")
    return row
