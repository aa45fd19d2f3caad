"""What shoppers do, one event a row: checked, pseudonymised and kept. A bad row does not cost the others."""

import numpy as np

from shelfbridge.contract import ACCEPTED, EVENTS, REASONS, USER_TOKENS
from shelfbridge.errors import InvalidEvents, PermissionRefused
from shelfbridge.profiles import read_events
from shelfbridge.release import Snapshot
from shelfbridge.steps.step import Inputs, Outputs, Step, strings


class Events(Step):
    """Keep events, and say of each row whether it is kept."""

    name = "events"

    def answer(self, inputs: Inputs, now: Snapshot) -> Outputs:
        """As `Step.answer`."""
        access, rows = self.services.access, inputs[EVENTS].tolist()
        tokens = _tokens(inputs, len(rows))
        reasons = [""] * len(rows)
        events, refused = read_events(rows, self.services.clock())
        for row in refused:
            reasons[row.place] = row.reason
        kept, places = [], []
        good = (place for place, reason in enumerate(reasons) if not reason)
        for place, event in zip(good, events, strict=True):
            try:
                access.who(event.user, tokens[place])
                kept.append(access.pseudonyms.record(event))
                places.append(place)
            except PermissionRefused as error:
                reasons[place] = str(error)
        for row in access.store.put(kept) if kept else []:
            reasons[places[row.place]] = row.reason
        return {ACCEPTED: np.array([not reason for reason in reasons], bool), REASONS: strings(reasons)}


def _tokens(inputs: Inputs, count: int) -> list[str]:
    given = inputs.get(USER_TOKENS)
    if given is None:
        return [""] * count
    if len(given) != count:
        raise InvalidEvents(
            f"{len(given)} user_tokens for {count} events; send one for each, empty where there is none"
        )
    return [token.decode(errors="replace") for token in given.tolist()]
