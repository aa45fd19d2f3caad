"""How a server's steps reach profiles."""

import pytest

from shelfbridge.errors import InvalidQuery, PermissionRefused, SettingsError
from shelfbridge.profiles.access import KEY_FILE, PROFILES, RETENTION, USER_TOKENS, Access, check_user
from tests.unit.profile_events import DAY, event


@pytest.fixture
def surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv(PROFILES, f"sqlite:///{tmp_path}/profiles.db")
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "key"))
    monkeypatch.delenv(USER_TOKENS, raising=False)
    return monkeypatch


def test_opens_what_the_environment_names(surroundings, tmp_path):
    access = Access.open()
    assert access.store.profile(access.who("ann", None)).recent == ()
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert Access.open().who("ann", None) == access.who("ann", None) != access.who("ben", None)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (PROFILES, "", f"{PROFILES} not set"),
        (KEY_FILE, "", f"{KEY_FILE} not set"),
        (USER_TOKENS, "yes", "set it to required or optional"),
        (PROFILES, "mysql://x", "no kind of store"),
        (RETENTION, "a year", "set it to the days"),
        (RETENTION, "0", "set it to the days"),
        (RETENTION, "nan", "set it to the days"),
    ],
)
def test_says_what_is_missing(surroundings, name, value, reason):
    surroundings.setenv(name, value)
    with pytest.raises(SettingsError, match=reason):
        Access.open()


def test_keeps_events_as_long_as_the_environment_says(surroundings):
    surroundings.setenv(RETENTION, "2")
    store = Access.open().store
    assert [one.place for one in store.put([event("a", ago=3 * DAY), event("a", ago=1 * DAY)])] == [0]
    surroundings.delenv(RETENTION)
    assert Access.open().store.put([event("a", ago=3 * DAY)]) == []


def test_a_token_is_the_users_own(surroundings):
    optional = Access.open()
    token = optional.pseudonyms.token("ann")
    assert optional.who("ann", token) == optional.who("ann", "") == optional.who("ann", None)
    with pytest.raises(PermissionRefused, match="not this user's"):
        optional.who("ben", token)
    surroundings.setenv(USER_TOKENS, "required")
    required = Access.open()
    assert required.who("ann", token) == optional.who("ann", None)
    for missing in (None, ""):
        with pytest.raises(PermissionRefused, match="asks for the user's token"):
            required.who("ann", missing)


def test_users_are_short_utf8():
    assert (check_user(None), check_user(b""), check_user("阿".encode())) == (None, None, "阿")
    for raw in (b"x" * 257, b"\xc3"):
        with pytest.raises(InvalidQuery) as caught:
            check_user(raw)
        assert caught.value.__cause__ is None
