"""What must not leave the private site does not, whatever is tried: by the public site's own counters, and by the
gateway's. Here the gateway's threshold is 0, so that every request that may leave does."""

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from deploy.gateway import Gateway
from deploy.hybrid import Hybrid
from shelfbridge.client import SearchClient
from shelfbridge.profiles import Pseudonyms
from tests.functional.wire import query_message
from tests.gateway.attempts import ANONYMOUS, MESSAGES, NEAR_PSEUDONYMS, PSEUDONYM, USER, WITH_USER, field, named
from tests.gateway.hostile import INFER, Caller, framed, opening, over_http2

pytestmark = pytest.mark.slow
SERVICE = "/inference.GRPCInferenceService/"


@pytest.fixture(scope="module")
def open_gateway(hybrid: Hybrid) -> Iterator[Gateway]:
    settings = hybrid.gateway.settings
    hybrid.gateway.down()
    policies = settings.policies.model_copy(update={"burst_above": 0})
    with Gateway(settings.model_copy(update={"policies": policies})) as running:
        yield running


@pytest.fixture(scope="module")
def caller(open_gateway: Gateway, secrets: Path, token: Callable[..., str]) -> Iterator[Caller]:
    everything = token("search", "recommend", "events", "admin")
    caller = Caller(open_gateway.settings.port, secrets, everything)
    yield caller
    caller.close()


@pytest.fixture
def stays(hybrid: Hybrid, open_gateway: Gateway) -> Iterator[None]:
    """Nothing of the test reaches the public site."""

    def seen() -> tuple[dict[str, int], dict[str, int]]:
        return hybrid.public.requests(), open_gateway.counters("cluster.public.upstream_rq_total")

    before = seen()
    yield
    assert seen() == before


@pytest.mark.usefixtures("stays")
@pytest.mark.parametrize("attempt", MESSAGES)
def test_message_stays(caller: Caller, attempt: str) -> None:
    caller.send(MESSAGES[attempt])


@pytest.mark.usefixtures("stays")
@pytest.mark.parametrize(
    "headers",
    [
        [("x-data-class", "public")],
        [("x-gw-residency", "public-ok"), ("X-Data-Class".lower(), "PUBLIC")],
        [("decision", "burstable"), ("shelfbridge", '{"decision": "burstable"}')],
        [("residency", "public-ok")],
        [("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "5"), ("x-envoy-upstream-alt-stat-name", "public")],
        [("x-envoy-original-path", INFER), ("x-envoy-decorator-operation", "public")],
        [("x-forwarded-host", "public.triton"), ("x-host", "public.triton"), ("host", "public.triton")],
        [("x-forwarded-for", "127.0.0.1"), ("x-envoy-internal", "true")],
    ],
    ids=lambda headers: headers[0][0],
)
def test_headers_do_not_help(caller: Caller, headers: list[tuple[str, str]]) -> None:
    assert caller.send(WITH_USER.SerializeToString(), headers=headers) is grpc.StatusCode.OK


@pytest.mark.usefixtures("stays")
@pytest.mark.parametrize(
    "path",
    [
        f"{INFER}?x=1",
        f"{INFER}#x",
        f"{INFER}/",
        f"/{INFER}",
        INFER.lower(),
        "/inference.GRPCInferenceService/./ModelInfer",
        "/inference.GRPCInferenceService/x/../ModelInfer",
        "/inference.GRPCInferenceService/%4dodelInfer",
        "/inference.GRPCInferenceService/ModelStreamInfer",
        "/inference.GRPCInferenceService/RepositoryModelUnload",
        "/v2/models/search/infer",
    ],
)
def test_paths_do_not_help(caller: Caller, path: str) -> None:
    caller.send(WITH_USER.SerializeToString(), path=path)


@pytest.mark.usefixtures("stays")
@pytest.mark.parametrize("kind", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_is_refused(caller: Caller, kind: grpc.Compression) -> None:
    padded = query_message("shoes " * 40, user=USER).SerializeToString()
    assert caller.send(padded, compression=kind) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.usefixtures("stays")
def test_several_messages_are_refused(caller: Caller) -> None:
    messages = [ANONYMOUS.SerializeToString(), WITH_USER.SerializeToString()]
    assert caller.send_all(messages) is grpc.StatusCode.INVALID_ARGUMENT


ANONYMOUS_FRAME = framed(ANONYMOUS.SerializeToString())
FRAMES = {
    "two content-types": ([ANONYMOUS_FRAME], [("content-type", "application/grpc")] * 2, None),
    "another content-type": ([ANONYMOUS_FRAME], [("content-type", "application/grpc-web")], None),
    "a flagged frame": ([framed(ANONYMOUS.SerializeToString(), flag=1)], [("content-type", "application/grpc")], None),
    "a short length": ([framed(WITH_USER.SerializeToString(), length=9)], [("content-type", "application/grpc")], None),
    "bytes after the frame": ([ANONYMOUS_FRAME, USER], [("content-type", "application/grpc")], None),
    "trailers": ([ANONYMOUS_FRAME], [("content-type", "application/grpc")], [("x-user", "u-4711")]),
    "an encoding": (
        [ANONYMOUS_FRAME],
        [("content-type", "application/grpc"), ("grpc-encoding", "gzip")],
        None,
    ),
}


@pytest.mark.usefixtures("stays")
@pytest.mark.parametrize("attempt", FRAMES)
def test_frames_are_refused(open_gateway: Gateway, secrets: Path, token: Callable[..., str], attempt: str) -> None:
    chunks, headers, trailers = FRAMES[attempt]
    answer = over_http2(open_gateway.settings.port, secrets, chunks, [*opening(token()), *headers], trailers)
    assert answer.get("grpc-status") == "3"


@pytest.mark.usefixtures("stays")
@pytest.mark.parametrize(
    "headers",
    [
        lambda token: [*opening(token(residency=None)), ("authorization", f"Bearer {token()}")],
        lambda token: opening(token(residency=None)),
        lambda token: [pair for pair in opening("") if pair[0] != "authorization"],
    ],
    ids=["two tokens", "a token without the claim", "no token"],
)
def test_tokens_do_not_help(
    open_gateway: Gateway, secrets: Path, token: Callable[..., str], headers: Callable[..., list[tuple[str, str]]]
) -> None:
    given = [*headers(token), ("content-type", "application/grpc")]
    over_http2(open_gateway.settings.port, secrets, [ANONYMOUS_FRAME], given)


def test_split_frames_of_an_honest_search_leave(
    hybrid: Hybrid, open_gateway: Gateway, secrets: Path, token: Callable[..., str]
) -> None:
    before = hybrid.public.requests()["search"]
    headers = [*opening(token()), ("content-type", "application/grpc")]
    chunks = [ANONYMOUS_FRAME[index : index + 7] for index in range(0, len(ANONYMOUS_FRAME), 7)]
    assert over_http2(open_gateway.settings.port, secrets, chunks, headers)["grpc-status"] == "0"
    assert hybrid.public.requests()["search"] == before + 1


@pytest.mark.parametrize("options", [{}, {"deep": True}, {"filters": {"brand": "Bírch", "price_max": 80}}, {"k": 3}])
def test_anonymous_search_leaves(
    hybrid: Hybrid, open_gateway: Gateway, client: Callable[..., SearchClient], options: dict[str, object]
) -> None:
    model = "search_deep" if "deep" in options else "search"
    before = hybrid.public.requests()[model]
    with client() as searching:
        searching.search("red running shoes", **options)
    assert hybrid.public.requests()[model] == before + 1


@pytest.mark.usefixtures("stays")
def test_search_with_a_user_is_answered_privately(
    hybrid: Hybrid, open_gateway: Gateway, client: Callable[..., SearchClient]
) -> None:
    before = hybrid.private.requests()["search"]
    with client() as searching:
        assert searching.search("red running shoes", user="u-4711").hits
    assert hybrid.private.requests()["search"] == before + 1


class TestPseudonyms:
    @pytest.fixture
    def vouched(self, open_gateway: Gateway, secrets: Path, token: Callable[..., str]) -> Iterator[Caller]:
        """A caller whose users are pseudonyms, as its token says."""
        everything = token("search", "recommend", "events", "admin", residency="pseudonymous-ok")
        caller = Caller(open_gateway.settings.port, secrets, everything)
        yield caller
        caller.close()

    @pytest.mark.parametrize("model", ["search", "search_deep"])
    def test_a_pseudonym_leaves_where_the_token_says_so(self, hybrid: Hybrid, vouched: Caller, model: str) -> None:
        user, before = Pseudonyms(b"k" * 32).of("u-4711").encode(), hybrid.public.requests()[model]
        assert vouched.send(named(user, model=model)) is grpc.StatusCode.OK
        assert hybrid.public.requests()[model] == before + 1

    def test_so_does_nobody(self, hybrid: Hybrid, vouched: Caller) -> None:
        before = hybrid.public.requests()["search"]
        assert vouched.send(ANONYMOUS.SerializeToString()) is grpc.StatusCode.OK
        assert hybrid.public.requests()["search"] == before + 1

    @pytest.mark.usefixtures("stays")
    @pytest.mark.parametrize("residency", ["public-ok", None])
    def test_without_that_claim_it_stays(
        self, open_gateway: Gateway, secrets: Path, token: Callable[..., str], residency: str | None
    ) -> None:
        caller = Caller(open_gateway.settings.port, secrets, token(residency=residency))
        assert caller.send(named(PSEUDONYM)) is grpc.StatusCode.OK
        caller.close()

    @pytest.mark.usefixtures("stays")
    @pytest.mark.parametrize("attempt", NEAR_PSEUDONYMS)
    def test_anything_else_stays(self, vouched: Caller, attempt: str) -> None:
        vouched.send(NEAR_PSEUDONYMS[attempt])

    @pytest.mark.usefixtures("stays")
    @pytest.mark.parametrize("attempt", MESSAGES)
    def test_nor_do_the_other_tricks_help(self, vouched: Caller, attempt: str) -> None:
        vouched.send(MESSAGES[attempt])


class TestReadiness:
    """Whether a search would be answered may be asked where it may be answered, and nothing more."""

    @pytest.mark.parametrize(
        ("method", "content"),
        [
            ("ServerLive", b""),
            ("ServerReady", b""),
            ("ModelReady", field(1, b"search")),
            ("ModelReady", field(1, b"search_deep") + field(2, b"1")),
        ],
    )
    def test_leaves(self, open_gateway: Gateway, caller: Caller, method: str, content: bytes) -> None:
        before = sum(open_gateway.counters("cluster.public.upstream_rq_total").values())
        assert caller.send(content, path=f"{SERVICE}{method}") is grpc.StatusCode.OK
        assert sum(open_gateway.counters("cluster.public.upstream_rq_total").values()) == before + 1

    @pytest.mark.usefixtures("stays")
    @pytest.mark.parametrize(
        ("method", "content"),
        [
            ("ModelReady", field(1, b"recommend")),
            ("ModelReady", field(1, b"search_personal")),
            ("ModelReady", field(1, b"u-4711")),
            ("ModelReady", field(1, b"search") + field(2, USER)),
            ("ModelReady", field(1, b"search") + field(3, USER)),
            ("ModelReady", field(1, b"search") + field(1, b"recommend")),
            ("ModelReady", b""),
            ("ModelReady", USER),
            ("ServerReady", field(1, USER)),
            ("ServerLive", USER),
            ("ServerMetadata", b""),
            ("ModelMetadata", field(1, b"search")),
            ("ModelStatistics", field(1, b"search")),
        ],
    )
    def test_stays(self, caller: Caller, method: str, content: bytes) -> None:
        caller.send(content, path=f"{SERVICE}{method}")

    @pytest.mark.usefixtures("stays")
    def test_stays_without_the_claim(self, open_gateway: Gateway, secrets: Path, token: Callable[..., str]) -> None:
        caller = Caller(open_gateway.settings.port, secrets, token(residency=None))
        assert caller.send(field(1, b"search"), path=f"{SERVICE}ModelReady") is grpc.StatusCode.OK
        assert caller.send(b"", path=f"{SERVICE}ServerReady") is grpc.StatusCode.OK
        caller.close()
