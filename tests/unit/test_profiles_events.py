"""Events as they come in, pseudonyms, and tokens."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from shelfbridge.errors import InvalidEvents, PermissionRefused, SettingsError
from shelfbridge.profiles import Event, Pseudonyms, load_or_make_key, read_events
from shelfbridge.profiles.events import MAX_AHEAD, MAX_BYTES, MAX_ROW_BYTES, MAX_ROWS

NOW = 1_800_000_000.0
USER = "alice@example.com"
GOOD = {"event_id": "e-1", "user": USER, "kind": "view", "product_id": "P1", "time": NOW}


def row(**changes) -> bytes:
    return json.dumps(GOOD | changes).encode()


class TestReading:
    def test_takes_an_event_as_it_is(self):
        (event,), refused = read_events([row(kind="buy", quantity=3, context="P0", time=NOW + MAX_AHEAD)], NOW)
        assert not refused
        assert (event.user, event.kind, event.quantity, event.context) == (USER, "buy", 3, "P0")

    def test_fills_in_what_is_optional(self):
        ((event,), _) = read_events([row()], NOW)
        assert (event.quantity, event.context) == (1, None)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"kind": "stare"}, "kind: "),
            ({"quantity": -1}, "quantity: "),
            ({"quantity": 0}, "quantity: "),
            ({"quantity": 10_001}, "quantity: "),
            ({"quantity": 1.5}, "quantity: "),
            ({"quantity": "2"}, "quantity: "),
            ({"quantity": True}, "quantity: "),
            ({"time": NOW + MAX_AHEAD + 1}, "in the future"),
            ({"time": NOW * 1000}, "in the future"),
            ({"time": 10**400}, "time: "),
            ({"time": "2026-01-01"}, "time: "),
            ({"user": ""}, "1 to 256 bytes"),
            ({"user": "ü" * 129}, "1 to 256 bytes"),
            ({"user": 17}, "user: "),
            ({"user": None}, "user: "),
            ({"event_id": ""}, "event_id: "),
            ({"event_id": "x" * 65}, "event_id: "),
            ({"event_id": "a b"}, "event_id: "),
            ({"event_id": "a\n"}, "event_id: "),
            ({"event_id": "é"}, "event_id: "),
            ({"product_id": ""}, "product_id: "),
            ({"product_id": "a\x00"}, "product_id: "),
            ({"context": "x" * 257}, "context: "),
            ({USER: 1}, "a field that events do not have"),
        ],
    )
    def test_refuses_what_is_no_event_and_keeps_the_rest(self, changes, reason):
        good, (refused,) = read_events([row(), row(**changes), row(event_id="e-2")], NOW)
        assert [event.event_id for event in good] == ["e-1", "e-2"]
        assert refused.place == 1
        assert reason in refused.reason
        assert "alice" not in refused.reason

    @pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"{", b"\xff", b'{"user": "\\ud800"}', b"9" * 5000])
    def test_refuses_rows_that_are_no_object(self, raw):
        good, (refused,) = read_events([raw, row()], NOW)
        assert len(good) == 1
        assert refused.place == 0

    def test_refuses_a_payload_of_a_megabyte_alone(self):
        good, (refused,) = read_events([row(), b'{"product_id": "' + b"x" * 1_000_000 + b'"}', row()], NOW)
        assert len(good) == 2
        assert refused.place == 1
        assert refused.reason == "it is 1,000,018 bytes long; an event has at most 16,384"

    def test_takes_the_longest_event_there_is(self):
        longest = {"user": "\x00" * 256, "product_id": "靴" * 256, "context": "靴" * 256, "event_id": "~" * 64}
        raw = row(**longest)
        assert len(raw) < MAX_ROW_BYTES / 2
        assert len(read_events([raw], NOW)[0]) == 1

    def test_refuses_a_field_that_is_missing_by_name(self):
        _, (refused,) = read_events([b'{"user": "alice"}'], NOW)
        assert "product_id: Field required" in refused.reason

    @pytest.mark.parametrize(
        ("rows", "limit"),
        [([row()] * (MAX_ROWS + 1), "1,000 at a time"), ([b" " * 10_001] * (MAX_BYTES // 10_000), "1,000,000")],
    )
    def test_refuses_a_batch_that_is_too_large(self, rows, limit):
        with pytest.raises(InvalidEvents, match=limit):
            read_events(rows, NOW)

    def test_takes_the_largest_batch(self):
        rows = [row(event_id=f"e-{n}") for n in range(MAX_ROWS)]
        assert len(read_events(rows, NOW)[0]) == MAX_ROWS

    def test_shows_no_user(self):
        event = Event(**GOOD)
        assert USER not in f"{event!r} {event}"


class TestPseudonyms:
    NAMES = Pseudonyms(b"k" * 32)

    def test_are_26_letters_that_depend_on_the_key(self):
        assert self.NAMES.of(USER) == self.NAMES.of(USER) == Pseudonyms(b"k" * 32).of(USER)
        assert len({self.NAMES.of(USER), self.NAMES.of("bob"), Pseudonyms(b"l" * 32).of(USER)}) == 3
        assert len(self.NAMES.of(USER)) == 26
        assert set(self.NAMES.of(USER)) <= set("abcdefghijklmnopqrstuvwxyz234567")

    def test_replace_the_user_and_the_events_id(self):
        event = Event(**GOOD | {"event_id": "alice-17", "kind": "buy", "quantity": 2, "context": "P0"})
        recorded = self.NAMES.record(event)
        assert recorded.who == self.NAMES.of(USER)
        assert "alice" not in recorded.model_dump_json()
        assert (recorded.kind, recorded.product_id, recorded.quantity) == ("buy", "P1", 2)
        assert (recorded.time, recorded.context) == (NOW, "P0")

    def test_tell_users_apart_whose_ids_and_events_join_alike(self):
        first, second = (Event(**GOOD | {"user": u, "event_id": e}) for u, e in (("a", "bc"), ("ab", "c")))
        assert self.NAMES.record(first).id != self.NAMES.record(second).id

    def test_come_with_tokens_that_only_their_user_has(self):
        self.NAMES.check(USER, self.NAMES.token(USER))
        for wrong in (self.NAMES.token("bob"), self.NAMES.of(USER), "", "é", "\ud800", self.NAMES.token(USER)[:-1]):
            with pytest.raises(PermissionRefused, match="not this user's") as caught:
                self.NAMES.check(USER, wrong)
            assert USER not in str(caught.value)

    def test_show_no_key(self):
        assert "kkkk" not in repr(self.NAMES)

    def test_need_a_long_key(self):
        with pytest.raises(SettingsError, match="32 random"):
            Pseudonyms(b"short")


class TestKeyFile:
    def test_is_made_once_for_its_owner_alone(self, tmp_path):
        path = tmp_path / "new" / "key"
        key = load_or_make_key(path)
        assert load_or_make_key(path) == key
        assert len(key) == 32
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert os.listdir(path.parent) == ["key"]

    def test_is_one_for_all_who_make_it_at_once(self, tmp_path):
        with ThreadPoolExecutor(16) as threads:
            keys = set(threads.map(load_or_make_key, [tmp_path / "key"] * 64))
        assert len(keys) == 1

    @pytest.mark.parametrize("mode", [0o644, 0o660, 0o604])
    def test_is_refused_where_others_reach_it(self, tmp_path, mode):
        load_or_make_key(tmp_path / "key")
        (tmp_path / "key").chmod(mode)
        with pytest.raises(SettingsError, match="chmod 600"):
            load_or_make_key(tmp_path / "key")

    @pytest.mark.parametrize("text", ["", "secret-but-no-key", "abcd", "é"])
    def test_is_refused_where_it_holds_none(self, tmp_path, text):
        (tmp_path / "key").write_text(text)
        (tmp_path / "key").chmod(0o600)
        with pytest.raises(SettingsError, match="key") as caught:
            load_or_make_key(tmp_path / "key")
        assert "secret" not in str(caught.value)

    def test_is_refused_where_it_cannot_be(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(SettingsError, match="name a file"):
            load_or_make_key(tmp_path / "file" / "key")
