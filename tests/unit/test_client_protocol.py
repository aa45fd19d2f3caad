"""Encoding and decoding, seen from the wire."""

import json
import re

import numpy as np
import pytest

from shelfbridge.client import SearchClient
from shelfbridge.contract import MODELS, STEPS
from shelfbridge.errors import InvalidQuery, ServerFault
from shelfbridge.request import Filters
from tests.unit.scripted_server import found, reply, serve

QUERY = "Wanderschuhe für Damen 靴 🥾"


@pytest.fixture(scope="module")
def server():
    with serve() as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with SearchClient(server.address) as made:
        yield made


def test_sends_the_contract(server, client):
    client.search(
        QUERY, k=3, filters=Filters(price_max=80.0, in_stock=True), user="u-1", with_payload=False, request_id="r-1"
    )
    seen = server.seen[-1]
    inputs = seen.inputs
    assert seen.request.model_name == "search"
    assert seen.request.id == "r-1"
    assert seen.metadata["x-request-id"] == "r-1"
    assert "authorization" not in seen.metadata
    assert inputs["query"] == ("BYTES", [1, 1], QUERY.encode())
    assert inputs["k"] == ("INT32", [1, 1], 3)
    assert inputs["user"] == ("BYTES", [1, 1], b"u-1")
    assert inputs["with_payload"] == ("BOOL", [1, 1], False)
    assert Filters.parse(inputs["filters"][2]) == Filters(price_max=80.0, in_stock=True)
    contract = {tensor.name: tensor for tensor in MODELS["search"].inputs}
    assert inputs.keys() == contract.keys()


def test_always_sends_the_same_inputs_so_that_the_server_can_join_requests(server, client):
    client.search("boots")
    assert server.seen[-1].inputs.keys() == {"query", "k", "filters", "user", "with_payload"}


def test_takes_a_mapping_and_leaves_its_judgment_to_the_server(server, client):
    client.search("boots", filters={"colour": "red"})
    assert json.loads(server.seen[-1].inputs["filters"][2]) == {"colour": "red"}


@pytest.mark.parametrize("query", ["", " ", "x" * 100_000, "\x00"])
def test_the_server_judges_queries(server, client, query):
    client.search(query)
    assert server.seen[-1].inputs["query"][2] == query.encode()


def test_reads_the_answer(client):
    result = client.search("boots", k=2, request_id="r-2")
    first, second = result.hits
    assert (first.rank, first.product_id, first.score) == (1, "P1", 1.0)
    assert (second.rank, second.product_id, second.score) == (2, "P2", 0.5)
    assert first.product == {"title": "[bold]Boot P1[/bold] 靴", "price": 9.5, "stock": 0}
    assert result.steps == {name: float(place) for place, name in enumerate(STEPS["search"])}
    assert (result.model_version, result.request_id, result.attempts) == ("7", "r-2", 1)
    assert 0 < result.round_trip_ms < 2000


def test_deep_asks_the_other_ensemble(server, client):
    result = client.search("boots", k=1, deep=True)
    assert server.seen[-1].request.model_name == "search_deep"
    assert tuple(result.steps) == STEPS["search_deep"]


def test_without_payload_there_is_no_product(client):
    assert [hit.product for hit in client.search("boots", k=2, with_payload=False).hits] == [None, None]


def test_makes_up_request_ids(client):
    ids = {client.search("boots").request_id for _ in range(3)}
    assert len(ids) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", made) for made in ids)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"query": b"boots"}, "query is of type bytes"),
        ({"query": None}, "query is of type NoneType"),
        ({"query": "secret \ud83d"}, "query holds half a surrogate pair at 7"),
        ({"k": "10"}, "k is of type str"),
        ({"k": True}, "k is of type bool"),
        ({"k": 1.0}, "k is of type float"),
        ({"k": 2**31}, "k does not fit 32 bits"),
        ({"user": 5}, "user is of type int"),
        ({"user": "\udc00"}, "user holds half a surrogate pair"),
        ({"with_payload": 1}, "with_payload is of type int"),
        ({"filters": "price_max=3"}, "filters is of type str"),
        ({"filters": {"price_max": float("nan")}}, "filters: Out of range float"),
        ({"filters": {"brand": b"x"}}, "filters: Object of type bytes"),
        ({"request_id": ""}, "request_id: give 1 to 128"),
        ({"request_id": "a\nb"}, "request_id: give 1 to 128"),
    ],
)
def test_refuses_what_cannot_be_sent(server, client, arguments, reason):
    before = len(server.seen)
    with pytest.raises(InvalidQuery, match=reason) as caught:
        client.search(**{"query": "boots"} | arguments)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None or "secret" not in repr(caught.value.__cause__)
    assert len(server.seen) == before


def test_takes_numpy_integers(server, client):
    client.search("boots", k=np.int64(4))
    assert server.seen[-1].inputs["k"] == ("INT32", [1, 1], 4)


def _without(name):
    broken = reply("search", ["P1"])
    place = [output.name for output in broken.outputs].index(name)
    del broken.outputs[place]
    del broken.raw_output_contents[place]
    return broken


def _wrong_shape():
    broken = reply("search", ["P1"])
    broken.outputs[1].shape[:] = [1, 5]
    return broken


@pytest.mark.parametrize(
    "broken",
    [
        _without("product_ids"),
        _without("payload"),
        _without("step_times"),
        _wrong_shape(),
        reply("search", ["P1", "P2"], scores=[1.0]),
        reply("search", ["P1", "P2"], payload=["{}"]),
        reply("search", ["P1"], payload=["not json"]),
    ],
    ids=["no ids", "no payload", "no times", "shape", "scores", "payload", "json"],
)
def test_a_reply_off_the_contract_is_the_servers_fault(broken):
    with (
        serve(lambda seen, context: broken) as server,
        SearchClient(server.address) as client,
        pytest.raises(ServerFault, match=r"does not follow the contract.*one version.*request r-3"),
    ):
        client.search("boots", request_id="r-3")


def test_steps_of_another_release_are_left_out():
    newer = reply("search", ["P1"], steps=[1.0, 2.0])
    with serve(lambda seen, context: newer, found) as server, SearchClient(server.address) as client:
        result = client.search("boots")
    assert result.steps == {}
    assert len(result.hits) == 1


def test_nothing_found():
    with serve(lambda seen, context: reply("search", [])) as server, SearchClient(server.address) as client:
        assert client.search("boots").hits == ()
