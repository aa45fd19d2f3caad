"""What shoppers do, one event a row: checked, pseudonymised and kept. A bad row does not cost the others."""

from pathlib import Path

import numpy as np

from shelfbridge.contract import ACCEPTED, EVENTS, REASONS, USER_TOKENS
from shelfbridge.errors import InvalidEvents, PermissionRefused
from shelfbridge.profiles import read_events
from shelfbridge.profiles.access import Access
from shelfbridge.steps import Inputs, Outputs, Step, strings


class TritonPythonModel(Step):
    def open(self, folder: Path) -> None:
        self.access = Access.open()

    def answer(self, inputs: Inputs) -> Outputs:
        rows = inputs[EVENTS].tolist()
        tokens = self.tokens(inputs, len(rows))
        reasons = [""] * len(rows)
        events, refused = read_events(rows, self.access.clock())
        for row in refused:
            reasons[row.place] = row.reason
        kept, places = [], []
        good = (place for place, reason in enumerate(reasons) if not reason)
        for place, event in zip(good, events, strict=True):
            try:
                self.access.who(event.user, tokens[place])
                kept.append(self.access.pseudonyms.record(event))
                places.append(place)
            except PermissionRefused as error:
                reasons[place] = str(error)
        for row in self.access.store.put(kept) if kept else []:
            reasons[places[row.place]] = row.reason
        return {ACCEPTED: np.array([not reason for reason in reasons], bool), REASONS: strings(reasons)}

    def tokens(self, inputs: Inputs, count: int) -> list[str]:
        given = inputs.get(USER_TOKENS)
        if given is None:
            return [""] * count
        if len(given) != count:
            raise InvalidEvents(
                f"{len(given)} user_tokens for {count} events; send one for each, empty where there is none"
            )
        return [token.decode(errors="replace") for token in given.tolist()]
