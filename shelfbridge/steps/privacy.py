"""What a user may ask of those who know them: all that is kept, and to be forgotten."""

import json

from shelfbridge.contract import ACTION, RECORD, USER_TOKEN, WANTED_USER
from shelfbridge.errors import InvalidQuery
from shelfbridge.profiles.access import check_user
from shelfbridge.release import Snapshot
from shelfbridge.steps.step import Inputs, Outputs, Step, strings


class Privacy(Step):
    """Export a profile, or end it."""

    name = "privacy"

    def answer(self, inputs: Inputs, now: Snapshot) -> Outputs:
        """As `Step.answer`."""
        action, access = inputs.value(ACTION), self.services.access
        if action not in (b"export", b"forget"):
            raise InvalidQuery("action: no such thing; ask for export or forget")
        user = check_user(inputs.value(WANTED_USER))
        if user is None:
            raise InvalidQuery("user is empty; say whose data it is")
        who = access.who(user, inputs.text(USER_TOKEN))
        record = access.store.export(who)
        if action == b"forget":
            access.store.forget(who)
        return {RECORD: strings([json.dumps(record)])}
