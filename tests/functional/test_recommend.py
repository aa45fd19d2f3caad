"""Shelves, served: who is shown what, and what three events change."""

import json
import struct
import time
from collections.abc import Iterator
from uuid import uuid4

import grpc
import pytest

from deploy.embedded import EmbeddedServer
from shelfbridge.client import ShelfResult, ShopperClient
from shelfbridge.contract import STEPS
from shelfbridge.profiles import Kind
from shelfbridge.shelf.demand import FRESH
from shelfbridge.shelf.history import DAY
from tests.functional.wire import Wire, message, packed

SHOE, OTHER, LAMP = "arden-red-running-shoes-1", "birch-red-running-shoes-2", "arden-red-desk-lamp-1"


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[ShopperClient]:
    with ShopperClient(server.address, timeout=30) as made:
        yield made


@pytest.fixture
def user(client: ShopperClient) -> Iterator[str]:
    """Somebody nobody knows yet, forgotten afterwards."""
    made = f"user-{uuid4().hex}"
    yield made
    client.forget(made)


def event(user: str, kind: Kind, product: str, ago: float = 0.0) -> dict[str, object]:
    return {
        "event_id": uuid4().hex,
        "user": user,
        "kind": kind,
        "product_id": product,
        "time": time.time() - ago,
    }


def do(client: ShopperClient, user: str, *steps: tuple[Kind, str]) -> None:
    receipt = client.send([event(user, kind, product, ago=len(steps) - at) for at, (kind, product) in enumerate(steps)])
    assert receipt.accepted == len(steps)


def ids(shelf: ShelfResult) -> list[str]:
    return [hit.product_id for hit in shelf.hits]


def ranked(shelf: ShelfResult) -> list[str]:
    """What stands there for its score; what is explored changes with the day."""
    return [hit.product_id for hit in shelf.hits if not hit.explored]


def things(shelf: ShelfResult, thing: str) -> int:
    return sum(thing in hit.product_id for hit in shelf.hits)


class TestKinds:
    def test_a_stranger_is_shown_what_sells_and_told_so(self, client: ShopperClient, user: str) -> None:
        for shelf in ("for_you", "buy_again", "popular", None):
            found = client.recommend(user=user, shelf=shelf)
            assert found.shown == "popular"
            assert len(found.hits) == 10
        assert client.recommend().shown == "popular"

    def test_three_events_change_the_next_shelf_within_a_second(self, client: ShopperClient, user: str) -> None:
        before = client.recommend(user=user)
        begun = time.monotonic()
        do(client, user, ("view", LAMP), ("cart", "corvo-red-desk-lamp-1"), ("view", "birch-red-desk-lamp-2"))
        after = client.recommend(user=user)
        assert time.monotonic() - begun < 1
        assert (before.shown, after.shown) == ("popular", "for_you")
        assert things(after, "desk-lamp") > things(before, "desk-lamp")

    def test_what_was_bought_once_and_what_is_in_the_cart_is_not_for_you(
        self, client: ShopperClient, user: str
    ) -> None:
        do(client, user, ("view", SHOE))
        bought, carted = ranked(client.recommend(user=user, k=100))[:2]
        do(client, user, ("buy", bought), ("cart", carted))
        assert not {bought, carted} & set(ids(client.recommend(user=user, k=100)))
        do(client, user, ("remove", carted))
        shoes = client.recommend(user=user, k=100, filters={"category": "Running Shoes"})
        assert not any(hit.explored for hit in shoes.hits)  # all are shown, so that none takes another's place
        assert carted in ids(shoes)

    def test_buy_again_is_of_what_was_bought(self, client: ShopperClient, user: str) -> None:
        do(client, user, ("buy", SHOE), ("view", LAMP), ("buy", OTHER))
        found = client.recommend(user=user, shelf="buy_again")
        assert found.shown == "buy_again"
        assert set(ids(found)) == {SHOE, OTHER}

    def test_goes_with_is_beside_a_product_for_anybody(self, client: ShopperClient, user: str) -> None:
        for who in (user, None):
            found = client.recommend(user=who, with_item=LAMP)
            assert found.shown == "goes_with"
            assert LAMP not in ids(found)
            assert things(found, "desk-lamp") >= 8

    def test_a_session_needs_no_user(self, client: ShopperClient) -> None:
        found = client.recommend(items=["no such product", LAMP])
        assert found.shown == "for_you"
        assert things(found, "desk-lamp") > things(client.recommend(), "desk-lamp")
        assert client.recommend(items=["no such product"]).shown == "popular"

    def test_a_shelf_is_nobody_elses(self, client: ShopperClient, user: str) -> None:
        do(client, user, ("view", SHOE))
        assert client.recommend(user=f"{user}2").shown == "popular"
        assert client.recommend(user=user).shown == "for_you"


class TestWhatMayBeShown:
    def test_filters_and_payload(self, client: ShopperClient) -> None:
        found = client.recommend(items=[SHOE], filters={"category": "rain jacket", "price_max": 20}, k=5)
        assert len(found.hits) == 5
        for hit in found.hits:
            assert "rain-jacket" in hit.product_id
            assert hit.product is not None
            assert hit.product["price"] <= 20
        assert client.recommend(filters={"brand": "nobody"}).hits == ()
        assert client.recommend(with_payload=False).hits[0].product is None

    def test_never_sold_out_unless_asked_for(self, client: ShopperClient) -> None:
        assert not [one for one in ids(client.recommend(k=100)) if one.endswith(("-0", "-3"))]
        wanted = client.recommend(k=100, filters={"in_stock": False})
        assert [one for one in ids(wanted) if one.endswith(("-0", "-3"))]

    @pytest.mark.parametrize("k", [1, 10, 100])
    def test_k_products_each_once_with_falling_scores(self, client: ShopperClient, k: int) -> None:
        found = client.recommend(items=[SHOE], k=k)
        assert len(found.hits) == len(set(ids(found))) == k
        scores = [hit.score for hit in found.hits]
        assert scores == sorted(scores, reverse=True)

    def test_a_tenth_is_tried_out_the_same_for_a_day(self, client: ShopperClient) -> None:
        days = [0, 1]
        while len(set(days)) > 1:  # unless a day began meanwhile
            days = [int(time.time() // DAY)]
            first, again = (client.recommend(items=[SHOE], k=30) for _ in range(2))
            days.append(int(time.time() // DAY))
        assert [hit.explored for hit in first.hits].count(True) == 3
        assert not first.hits[0].explored
        assert ids(first) == ids(again)

    def test_steps_are_those_of_the_contract(self, client: ShopperClient) -> None:
        assert tuple(client.recommend(items=[SHOE]).steps) == STEPS["recommend"]


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        pytest.param([("with_item", b"no such product")], "with_item is no product of the catalogue", id="no product"),
        pytest.param([("with_item", b"x" * 300)], "more than 256 bytes", id="long id"),
        pytest.param([("with_item", b"\xff")], "not UTF-8", id="id not UTF-8"),
        pytest.param([("shelf", b"top")], "ask for for_you, goes_with, buy_again, popular", id="no such shelf"),
        pytest.param([("shelf", b"goes_with")], "belong together", id="beside nothing"),
        pytest.param([("shelf", b"popular"), ("with_item", SHOE.encode())], "belong together", id="not beside"),
        pytest.param([("user", b"u" * 257)], "user is 257 bytes long", id="long user"),
        pytest.param([("user", b"\xc3")], "user is not UTF-8", id="user not UTF-8"),
        pytest.param([("user", b"u1"), ("user_token", b"forged")], "permission: the token is not", id="forged token"),
        pytest.param([("filters", b"{")], "Invalid JSON", id="filters"),
    ],
)
def test_what_cannot_be_answered_is_refused(wire: Wire, tensors: list[tuple[str, bytes]], reason: str) -> None:
    sent = [(name, "BYTES", [1, 1], packed(value)) for name, value in tensors]
    code, said = wire.refusal(message("recommend", *sent))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert reason in said


@pytest.mark.usefixtures("unharmed")
def test_too_many_items_and_no_k(wire: Wire) -> None:
    many = ("items", "BYTES", [1, 51], packed(*[b"x"] * 51))
    assert "items holds 51 products" in wire.refusal(message("recommend", many))[1]
    nothing = ("k", "INT32", [1, 1], struct.pack("<i", 0))
    assert "k is 0; ask for 1 to 100" in wire.refusal(message("recommend", nothing))[1]


def test_what_is_popular_follows_the_events(client: ShopperClient, user: str) -> None:
    product = "corvo-white-usb-cable-64gb-4"
    assert product not in ranked(client.recommend(k=100))
    rows = [event(f"{user}-{number}", "buy", product) for number in range(200)]
    try:
        assert client.send(rows).accepted == 200
        time.sleep(FRESH)  # for which each process believes what the store said last
        assert ids(client.recommend())[0] == product
    finally:
        for number in range(200):
            client.forget(f"{user}-{number}")


def test_a_profile_is_told_and_forgotten(client: ShopperClient, user: str) -> None:
    do(client, user, ("buy", SHOE))
    assert json.dumps(client.export(user)).count(SHOE) == 2
    client.forget(user)
    assert SHOE not in json.dumps(client.export(user))
    assert client.recommend(user=user).shown == "popular"
