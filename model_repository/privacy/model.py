"""What a user may ask of those who know them: all that is kept, and to be forgotten."""

import json
from pathlib import Path

from shelfbridge.contract import ACTION, RECORD, USER_TOKEN, WANTED_USER
from shelfbridge.errors import InvalidQuery
from shelfbridge.profiles.access import Access, check_user
from shelfbridge.steps import Inputs, Outputs, Step, strings


class TritonPythonModel(Step):
    def open(self, folder: Path) -> None:
        self.access = Access.open()

    def answer(self, inputs: Inputs) -> Outputs:
        action = inputs.value(ACTION)
        if action not in (b"export", b"forget"):
            raise InvalidQuery("action: no such thing; ask for export or forget")
        user = check_user(inputs.value(WANTED_USER))
        if user is None:
            raise InvalidQuery("user is empty; say whose data it is")
        who = self.access.who(user, (inputs.value(USER_TOKEN) or b"").decode(errors="replace"))
        record = self.access.store.export(who)
        if action == b"forget":
            self.access.store.forget(who)
        return {RECORD: strings([json.dumps(record)])}
