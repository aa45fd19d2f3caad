"""Who a shopper is to the shop: what they did lately and what they bought, under a pseudonym.

An event comes in (`read_events`), loses the user's id (`Pseudonyms.record`) and is kept (`open_store(uri).put`); from
then on `profile` and `popular` know of it.
"""

from shelfbridge.profiles.events import Event, Kind, Recorded, Refused, read_events
from shelfbridge.profiles.profile import Bought, Profile, Recent
from shelfbridge.profiles.pseudonym import Pseudonyms, load_or_make_key
from shelfbridge.profiles.store import ProfileStore, open_store

__all__ = [
    "Bought",
    "Event",
    "Kind",
    "Profile",
    "ProfileStore",
    "Pseudonyms",
    "Recent",
    "Recorded",
    "Refused",
    "load_or_make_key",
    "open_store",
    "read_events",
]
