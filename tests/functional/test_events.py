"""Events and a user's data, served: a bad row costs nobody else, and nothing is left where it must not be."""

import json
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import grpc
import pytest

from deploy.embedded import EmbeddedServer, EmbeddedSettings
from shelfbridge.client import SearchClient, ShopperClient
from shelfbridge.errors import ConnectionFailed, PermissionRefused
from shelfbridge.profiles import Pseudonyms, load_or_make_key
from tests.functional.conftest import free_ports
from tests.functional.wire import Wire, message, packed
from tests.unit.redis_server import RedisServer

SHOE = "arden-red-running-shoes-1"


def row(user: str, **changed: object) -> dict[str, object]:
    event = {"event_id": uuid4().hex, "user": user, "kind": "view", "product_id": SHOE, "time": time.time()}
    return event | changed


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[ShopperClient]:
    with ShopperClient(server.address, timeout=30) as made:
        yield made


@pytest.fixture
def user(client: ShopperClient) -> Iterator[str]:
    made = f"user-{uuid4().hex}"
    yield made
    client.forget(made)


@pytest.mark.usefixtures("unharmed")
def test_bad_events_are_refused_with_a_reason_and_the_rest_is_kept(client: ShopperClient, user: str) -> None:
    bad = {
        "kind: Input should be": row(user, kind="steal"),
        "in the future": row(user, time=time.time() + 3600),
        "quantity: Input should be greater": row(user, quantity=-1),
        "product_id: Field required": {"event_id": "x", "user": user, "kind": "view", "time": time.time()},
        "a field that events do not have": row(user, secret="x"),
        "the token is not this user's": row(user),
    }
    good = [row(user), row(user, kind="buy")]
    tokens = [""] * len(good) + [""] * (len(bad) - 1) + ["forged"]
    receipt = client.send([*good, *bad.values()], user_tokens=tokens)
    assert receipt.accepted == 2
    assert [one.place for one in receipt.refused] == list(range(2, 2 + len(bad)))
    for one, reason in zip(receipt.refused, bad, strict=True):
        assert reason in one.reason
        assert user not in one.reason
    assert len(client.export(user)["recent"]) == 2


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    "junk",
    [b"\xff\xfe", b"", b"null", b"[" * 5000, b"x" * 1_000_000],
    ids=["not UTF-8", "empty", "null", "deep", "1 MB"],
)
def test_rows_that_are_no_events(wire: Wire, junk: bytes, user: str) -> None:
    good = json.dumps(row(user)).encode()
    sent = message("events", ("events", "BYTES", [2], packed(junk, good)))
    reply = wire.stub.ModelInfer(sent, timeout=30)
    assert reply.raw_output_contents[0] == struct.pack("??", False, True)


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("rows", "tokens", "reason"),
    [
        pytest.param([b" " * 10_001] * 100, None, "bytes long; send at most 1,000,000", id="1 MB in all"),
        pytest.param([b"{}"] * 1001, None, "1,001 events; send at most 1,000", id="many"),
        pytest.param([b"{}"], [b"a", b"b"], "2 user_tokens for 1 events", id="tokens"),
    ],
)
def test_batches_that_are_refused_as_a_whole(
    wire: Wire, rows: list[bytes], tokens: list[bytes] | None, reason: str
) -> None:
    sent = [("events", "BYTES", [len(rows)], packed(*rows))]
    if tokens:
        sent.append(("user_tokens", "BYTES", [len(tokens)], packed(*tokens)))
    code, said = wire.refusal(message("events", *sent))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert reason in said


@pytest.mark.parametrize("days", [366, 500, 730])
def test_events_that_are_too_old_to_be_kept_are_refused(client: ShopperClient, user: str, days: int) -> None:
    kept, old = (row(user, time=time.time() - age * 86_400) for age in (364, days))
    receipt = client.send([old, kept])
    assert receipt.accepted == 1
    (refused,) = receipt.refused
    assert refused.place == 0
    assert refused.reason.startswith(f"time: {days} days ago, and events are kept for 365")
    assert [one["time"] for one in client.export(user)["recent"]] == [kept["time"]]


def test_who_was_forgotten_begins_anew_at_once(client: ShopperClient, user: str) -> None:
    before = row(user, kind="buy")
    assert client.send([before]).accepted == 1
    client.forget(user)
    after = row(user, kind="cart")
    receipt = client.send([before, row(user, kind="steal"), after])
    assert receipt.accepted == 1
    assert [one.place for one in receipt.refused] == [0, 1]
    assert "from before its user was forgotten" in receipt.refused[0].reason
    assert [one["kind"] for one in client.export(user)["recent"]] == ["cart"]
    assert client.recommend(user=user).shown == "for_you"


def test_an_event_counts_once(client: ShopperClient, user: str) -> None:
    bought = row(user, kind="buy")
    for _ in range(3):
        assert client.send([bought, bought]).accepted == 2
    assert client.export(user)["bought"][0]["times"] == 1


def test_a_token_opens_its_own_users_profile_only(
    repository: Path, make_settings: Callable[..., EmbeddedSettings]
) -> None:
    settings = make_settings(repository).model_copy(update={"user_tokens": "required"})
    with EmbeddedServer(settings) as server, ShopperClient(server.address, timeout=30) as client:
        names = Pseudonyms(load_or_make_key(settings.key))
        token = names.token("ann")
        receipt = client.send([row("ann"), row("ann"), row("ben")], user_tokens=[token, "", token])
        assert receipt.accepted == 1
        assert ["asks for the user's token" in one.reason for one in receipt.refused] == [True, False]
        assert client.recommend(user="ann", user_token=token).shown == "for_you"
        for stolen in (None, token):
            with pytest.raises(PermissionRefused):
                client.recommend(user="ben" if stolen else "ann", user_token=stolen)
            with pytest.raises(PermissionRefused):
                client.export("ben" if stolen else "ann", user_token=stolen)
        assert client.recommend().shown == "popular"


def test_what_is_forgotten_is_nowhere_and_raw_ids_and_queries_never_were(
    repository: Path, make_settings: Callable[..., EmbeddedSettings]
) -> None:
    settings = make_settings(repository)
    secret, query, product = f"raw-{uuid4().hex}", f"quiet{uuid4().hex}", f"thing-{uuid4().hex}"

    def holding(text: str) -> list[Path]:
        files = (path for path in settings.run_dir.rglob("*") if path.is_file())
        return [path for path in files if text.encode() in path.read_bytes()]

    with EmbeddedServer(settings) as server, ShopperClient(server.address, timeout=30) as client:
        client.send([row(secret, product_id=product), row(secret, kind="steal")])
        client.recommend(user=secret)
        with SearchClient(server.address, timeout=30) as searches:
            searches.search(query, user=secret)
            searches.search(query, user=secret, personal=True)
        who = Pseudonyms(load_or_make_key(settings.key)).of(secret)
        assert holding(product)
        assert holding(who)
        assert client.export(secret)["recent"][0]["product_id"] == product
        assert client.forget(secret)["recent"][0]["product_id"] == product
        assert client.export(secret)["recent"] == []
        for text in (secret, query):
            assert not holding(text)
    # That the store forgets is tested with the stores: here, that nothing else kept what was sent
    assert {path.name for path in holding(product)} <= {"profiles.sqlite"}
    assert not holding(secret)
    assert not holding(query)


def test_a_store_that_is_away_loses_no_event_and_fills_shelves(
    repository: Path, make_settings: Callable[..., EmbeddedSettings]
) -> None:
    (port,) = free_ports(1)
    settings = make_settings(repository).model_copy(update={"profiles": f"redis://127.0.0.1:{port}/0"})
    with EmbeddedServer(settings) as server, ShopperClient(server.address, timeout=30, retries=0) as client:
        with pytest.raises(ConnectionFailed, match="store of profiles does not answer; send the same again"):
            client.send([row("ann")])
        found = client.recommend(user="ann")
        assert found.shown == "popular"
        assert len(found.hits) == 10


def test_a_sqlite_file_that_is_away_loses_no_event_and_may_come_back(
    repository: Path, make_settings: Callable[..., EmbeddedSettings], tmp_path: Path
) -> None:
    home = tmp_path / "profiles"
    settings = make_settings(repository).model_copy(update={"profiles": f"sqlite:///{home}/profiles.sqlite"})
    with EmbeddedServer(settings) as server, ShopperClient(server.address, timeout=30, retries=0) as client:
        sent = [row("ann"), row("ann", kind="cart")]
        assert client.send(sent).accepted == 2
        shutil.rmtree(home)
        home.touch()  # so that it cannot be made again
        for _ in range(4):  # by either process, on the connection that was there and on new ones
            with pytest.raises(ConnectionFailed, match="store of profiles does not answer; send the same again"):
                client.send(sent)
            with pytest.raises(ConnectionFailed, match="store of profiles does not answer"):
                client.export("ann")
            found = client.recommend(user="ann")
            assert found.shown == "popular"
            assert len(found.hits) == 10
        home.unlink()
        assert client.send(sent).accepted == 2
        assert len(client.export("ann")["recent"]) == 2
        assert client.recommend(user="ann").shown == "for_you"


def test_redis_keeps_profiles_of_a_served_shelf(
    repository: Path, make_settings: Callable[..., EmbeddedSettings], tmp_path: Path
) -> None:
    with RedisServer(tmp_path).running() as redis:
        settings = make_settings(repository).model_copy(update={"profiles": redis.uri})
        consumer = subprocess.Popen([sys.executable, "-m", "deploy.consumer", "--profiles", redis.uri])
        try:
            with EmbeddedServer(settings) as server, ShopperClient(server.address, timeout=30) as client:
                assert client.send([row("ann"), row("ann", kind="cart")]).accepted == 2
                begun = time.monotonic()
                while client.recommend(user="ann").shown != "for_you":
                    assert time.monotonic() - begun < 1
                client.forget("ann")
                assert client.recommend(user="ann").shown == "popular"
        finally:
            consumer.terminate()
            assert consumer.wait(20) == 0
