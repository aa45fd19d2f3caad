"""Personal search: the profile moves the order where it is asked for, and never otherwise."""

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from deploy.embedded import EmbeddedServer
from shelfbridge.client import SearchClient, ShopperClient
from shelfbridge.contract import STEPS
from shelfbridge.errors import InvalidQuery

QUERY = "running shoes"


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[SearchClient]:
    with SearchClient(server.address, timeout=30) as made:
        yield made


@pytest.fixture
def fan(server: EmbeddedServer) -> Iterator[str]:
    """Somebody who looked at nothing but white shoes of one brand."""
    user = f"fan-{uuid4().hex}"
    with ShopperClient(server.address, timeout=30) as shoppers:
        rows = [
            {
                "event_id": uuid4().hex,
                "user": user,
                "kind": "view",
                "product_id": f"corvo-white-running-shoes-{size}",
                "time": time.time(),
            }
            for size in (1, 2, 4)
        ]
        assert shoppers.send(rows).accepted == 3
        yield user
        shoppers.forget(user)


def place(client: SearchClient, thing: str, **options: Any) -> float:
    """Mean rank of the products whose ids begin so, among a hundred."""
    hits = client.search(QUERY, k=100, with_payload=False, **options).hits
    ranks = [hit.rank for hit in hits if hit.product_id.startswith(thing)]
    return sum(ranks) / len(ranks)


def test_taste_moves_the_order(client: SearchClient, fan: str) -> None:
    anybody = place(client, "corvo-white-running")
    assert place(client, "corvo-white-running", user=fan, personal=True) < anybody
    session = ["corvo-white-running-shoes-1"]
    assert place(client, "corvo-white-running", items=session, personal=True) < anybody


def test_without_being_asked_a_search_is_anybodys(client: SearchClient, fan: str) -> None:
    anybody = client.search(QUERY, k=100).hits
    assert client.search(QUERY, k=100, user=fan).hits == anybody
    assert client.search(QUERY, k=100, user=fan, deep=True).hits == client.search(QUERY, k=100, deep=True).hits


def test_a_strangers_search_is_anybodys_to_the_last_bit(client: SearchClient) -> None:
    found = client.search(QUERY, k=100, user="stranger", personal=True)
    assert found.hits == client.search(QUERY, k=100).hits
    assert tuple(found.steps) == STEPS["search_personal"]


def test_filters_hold(client: SearchClient, fan: str) -> None:
    found = client.search(QUERY, filters={"brand": "Arden"}, user=fan, personal=True)
    assert found.hits
    assert all(hit.product_id.startswith("arden") for hit in found.hits)


def test_it_needs_to_know_whose(client: SearchClient) -> None:
    with pytest.raises(InvalidQuery, match="personal search needs a user or items"):
        client.search(QUERY, personal=True)
    with pytest.raises(InvalidQuery, match="deep or personal, not both"):
        client.search(QUERY, user="u", personal=True, deep=True)
