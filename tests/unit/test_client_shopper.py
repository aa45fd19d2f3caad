"""The shopper's side of the client: what is sent, what is read, what is said when it fails."""

import asyncio
import json

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from shelfbridge.client import AsyncSearchClient, AsyncShopperClient, SearchClient, ShopperClient
from shelfbridge.contract import MODELS, PERMISSION, STEPS, STORE_AWAY
from shelfbridge.errors import ConnectionFailed, InvalidQuery, PermissionRefused, ServerFault
from shelfbridge.profiles import Event
from shelfbridge.profiles.events import MAX_ROWS
from tests.unit.scripted_server import fails, found, serve

EVENT = Event(event_id="e1", user="u1", kind="view", product_id="p1", time=1.5)


def reply(seen, **outputs):
    """Triton's form of outputs by name."""
    response = pb.ModelInferResponse(model_name=seen.request.model_name, model_version="3", id=seen.request.id)
    for name, values in outputs.items():
        if values and isinstance(values[0], bool):
            datatype, raw = "BOOL", np.array(values, np.bool_).tobytes()
        elif values and isinstance(values[0], float):
            datatype, raw = "FP32", np.array(values, np.float32).tobytes()
        else:
            packed = serialize_byte_tensor(np.array([value.encode() for value in values], np.object_))
            datatype, raw = "BYTES", packed.item() if packed.size else b""
        response.outputs.add(name=name, datatype=datatype, shape=[len(values)])
        response.raw_output_contents.append(raw)
    return response


def shelf(seen, context):
    steps = [1.0] * len(STEPS["recommend"])
    return reply(
        seen,
        product_ids=["P1", "P2"],
        hit_scores=[2.0, 1.0],
        payload=['{"title": "a"}', '{"title": "b"}'],
        shown=["for_you"],
        explored=[False, True],
        step_times=steps,
    )


def sent(seen):
    """The values of each input."""
    values = {}
    for tensor, raw in zip(seen.request.inputs, seen.request.raw_input_contents, strict=True):
        kinds = {"INT32": np.int32, "BOOL": np.bool_}
        array = (
            deserialize_bytes_tensor(raw) if tensor.datatype == "BYTES" else np.frombuffer(raw, kinds[tensor.datatype])
        )
        values[tensor.name] = (list(tensor.shape), array.tolist())
    return values


def receipts(seen, context):
    """Every tenth row is refused."""
    count = sent(seen)["events"][0][0]
    accepted = [bool(place % 10) for place in range(count)]
    return reply(seen, accepted=accepted, reasons=["" if taken else "no good" for taken in accepted])


class TestShelf:
    def test_sends_the_contract(self):
        with serve(shelf) as server, ShopperClient(server.address) as client:
            client.recommend(
                user="u1", user_token="t", items=["a", "b"], k=7, filters={"brand": "x"}, with_payload=False
            )
            client.recommend(with_item="c", shelf="goes_with")
            first, second = map(sent, server.seen)
        assert set(first) == set(second) == {tensor.name for tensor in MODELS["recommend"].inputs}
        assert first["user"] == ([1, 1], [b"u1"])
        assert first["user_token"] == ([1, 1], [b"t"])
        assert first["items"] == ([1, 2], [b"a", b"b"])
        assert first["k"] == ([1, 1], [7])
        assert json.loads(first["filters"][1][0]) == {"brand": "x"}
        assert first["with_payload"] == ([1, 1], [False])
        assert second["items"] == ([1, 1], [b""])
        assert (second["with_item"], second["shelf"]) == (([1, 1], [b"c"]), ([1, 1], [b"goes_with"]))

    def test_reads_the_answer(self):
        with serve(shelf) as server, ShopperClient(server.address) as client:
            found = client.recommend(user="u1", request_id="r-1")
        assert found.shown == "for_you"
        assert [(hit.rank, hit.product_id, hit.score, hit.explored) for hit in found.hits] == [
            *((1, "P1", 2.0, False), (2, "P2", 1.0, True))
        ]
        assert found.hits[1].product == {"title": "b"}
        assert tuple(found.steps) == STEPS["recommend"]
        assert (found.model_version, found.request_id, found.attempts) == ("3", "r-1", 1)

    def test_an_answer_that_is_no_shelf_is_the_servers_fault(self):
        def odd(seen, context):
            return reply(seen, product_ids=[], hit_scores=[], payload=[], shown=["top"], explored=[], step_times=[])

        with (
            serve(odd) as server,
            ShopperClient(server.address) as client,
            pytest.raises(ServerFault, match="does not follow the contract"),
        ):
            client.recommend()

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            ({"user": 5}, "user is of type int"),
            ({"items": "a,b"}, "items is of type str"),
            ({"items": [b"a"]}, "items is of type bytes"),
            ({"k": 1.5}, "k is of type float"),
        ],
    )
    def test_what_cannot_be_sent_is_refused(self, arguments, reason):
        with serve(shelf) as server, ShopperClient(server.address) as client:
            with pytest.raises(InvalidQuery, match=reason):
                client.recommend(**arguments)
            assert not server.seen


class TestEvents:
    def test_go_as_json_rows_with_their_tokens(self):
        with serve(receipts) as server, ShopperClient(server.address) as client:
            client.send([EVENT, {"event_id": "e2", "odd": True}], user_tokens=["t1", ""])
            values = sent(server.seen[0])
        rows = [json.loads(row) for row in values["events"][1]]
        assert (values["events"][0], values["user_tokens"]) == ([2], ([2], [b"t1", b""]))
        assert Event.model_validate(rows[0]) == EVENT
        assert rows[1] == {"event_id": "e2", "odd": True}

    def test_many_go_in_batches_and_places_count_through(self):
        with serve(receipts) as server, ShopperClient(server.address) as client:
            receipt = client.send([EVENT] * (2 * MAX_ROWS + 5))
            sizes = [sent(seen)["events"][0][0] for seen in server.seen]
        assert sizes == [MAX_ROWS, MAX_ROWS, 5]
        assert [one.place for one in receipt.refused] == list(range(0, 2 * MAX_ROWS + 5, 10))
        assert receipt.accepted + len(receipt.refused) == 2 * MAX_ROWS + 5
        assert {one.reason for one in receipt.refused} == {"no good"}

    def test_batches_are_small_enough_in_bytes(self):
        long = EVENT.model_copy(update={"product_id": "x" * 250, "context": "y" * 250, "user": "z" * 250})
        with serve(receipts) as server, ShopperClient(server.address) as client:
            client.send([long] * 2500)
            for seen in server.seen:
                assert sum(map(len, sent(seen)["events"][1])) <= 1_000_000
        assert len(server.seen) >= 3

    def test_none_are_no_request(self):
        with serve(receipts) as server, ShopperClient(server.address) as client:
            assert client.send([]).accepted == 0
            assert not server.seen

    def test_a_store_that_is_away_is_tried_again_and_then_said(self):
        away = fails(grpc.StatusCode.UNAVAILABLE, f"{STORE_AWAY}; send the same again")
        with serve(away, receipts) as server, ShopperClient(server.address) as client:
            assert client.send([{}] * 2).accepted == 1
            assert len(server.seen) == 2
        with (
            serve(away) as server,
            ShopperClient(server.address, retries=1) as client,
            pytest.raises(ConnectionFailed, match="store of profiles does not answer; send the same again"),
        ):
            client.send([EVENT])

    @pytest.mark.parametrize("row", [object(), {"time": {1}}, {"time": b"x"}])
    def test_what_is_no_json_is_refused_without_being_shown(self, row):
        with serve(receipts) as server, ShopperClient(server.address) as client:
            with pytest.raises(InvalidQuery, match="an event cannot be written as JSON"):
                client.send([row])
            with pytest.raises(InvalidQuery, match="1 user_tokens for 2 events"):
                client.send([EVENT, EVENT], user_tokens=["t"])
            assert not server.seen


class TestPrivacy:
    @pytest.mark.parametrize("action", ["export", "forget"])
    def test_asks_and_reads(self, action):
        with (
            serve(lambda seen, context: reply(seen, record=['{"recent": []}'])) as server,
            ShopperClient(server.address) as client,
        ):
            assert getattr(client, action)("u1", user_token="t") == {"recent": []}
            assert sent(server.seen[0]) == {
                "user": ([1], [b"u1"]),
                "user_token": ([1], [b"t"]),
                "action": ([1], [action.encode()]),
            }

    def test_a_token_that_is_refused(self):
        refused = fails(grpc.StatusCode.INVALID_ARGUMENT, f"{PERMISSION}the token is not this user's")
        with serve(refused) as server, ShopperClient(server.address) as client:
            with pytest.raises(PermissionRefused, match="the token is not this user's"):
                client.export("secret-user")
            assert len(server.seen) == 1


class TestPersonalSearch:
    def test_the_profile_is_asked_for_by_name_only(self):
        with serve(found) as server, SearchClient(server.address) as client:
            client.search("boots", user="u1", user_token="t", items=["a"])
            client.search("boots", user="u1", user_token="t", items=["a"], personal=True)
            plain, personal = server.seen
        assert plain.request.model_name == "search"
        assert {"user_token", "items"}.isdisjoint(sent(plain))
        assert personal.request.model_name == "search_personal"
        assert set(sent(personal)) == {tensor.name for tensor in MODELS["search_personal"].inputs}
        assert sent(personal)["items"] == ([1, 1], [b"a"])


async def test_the_client_for_event_loops_does_the_same():
    def record(seen, context):
        return reply(seen, record=["{}"])

    with serve(shelf, receipts, record, record, found) as server:
        async with AsyncShopperClient(server.address) as client, AsyncSearchClient(server.address) as searches:
            assert (await client.recommend(user="u1")).shown == "for_you"
            assert (await client.send([EVENT] * 11)).accepted == 9
            assert await client.export("u1") == await client.forget("u1") == {}
            assert (await searches.search("boots", user="u1", personal=True)).hits
            assert await client.ready()
    assert [seen.request.model_name for seen in server.seen] == [
        *("recommend", "events", "privacy", "privacy", "search_personal")
    ]
    assert server.asked_ready == ["recommend"]


async def test_cancelling_a_shelf_cancels_it():
    def slow(seen, context):
        while context.is_active():
            pass
        return shelf(seen, context)

    with serve(slow) as server:
        async with AsyncShopperClient(server.address, timeout=30) as client:
            task = asyncio.create_task(client.recommend())
            while not server.seen:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


@pytest.mark.parametrize(
    ("answer", "call"),
    [
        (shelf, lambda client, **given: client.recommend(user="u1", **given)),
        (receipts, lambda client, **given: client.send([EVENT], **given)),
        (lambda seen, context: reply(seen, record=["{}"]), lambda client, **given: client.export("u1", **given)),
        (lambda seen, context: reply(seen, record=["{}"]), lambda client, **given: client.forget("u1", **given)),
    ],
    ids=["recommend", "send", "export", "forget"],
)
def test_the_server_learns_every_deadline(answer, call):
    async def on_loop(address):
        async with AsyncShopperClient(address, timeout=9) as client:
            await call(client, timeout=5)

    with serve(answer) as server:
        with ShopperClient(server.address, timeout=5) as client:
            call(client)
        asyncio.run(on_loop(server.address))
    assert len(server.seen) == 2
    for seen in server.seen:
        assert 3 < seen.time_left < 5.1
        assert 3_000_000 < seen.request.parameters["timeout"].int64_param <= 5_000_000
