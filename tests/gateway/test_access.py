"""Who may call what, and how much: every control with what it lets through and what it does not."""

import datetime
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from deploy.gateway import Gateway
from deploy.hybrid import Hybrid
from deploy.security.__main__ import main as security
from deploy.security.tokens import make_token
from shelfbridge.client import TLS, SearchClient
from shelfbridge.errors import ConnectionFailed, InvalidQuery, Overloaded, PermissionRefused, SearchError
from tests.functional.wire import message, packed, query_message
from tests.gateway.conftest import Open
from tests.gateway.hostile import Caller

pytestmark = pytest.mark.slow

Client = Callable[..., SearchClient]
SERVICE = "/inference.GRPCInferenceService/"
QUERY = "red running shoes"
HOUR = datetime.timedelta(hours=1)


@pytest.fixture(scope="module")
def running(hybrid: Hybrid) -> Iterator[Gateway]:
    hybrid.gateway.down()
    with hybrid.gateway as gateway:
        yield gateway


@pytest.mark.usefixtures("running")
class TestToken:
    def test_good(self, client: Client) -> None:
        with client() as searching:
            assert searching.search(QUERY).hits

    def test_none(self, client: Client) -> None:
        with client(token=None) as searching, pytest.raises(PermissionRefused, match="Jwt is missing"):
            searching.search(QUERY)

    def test_expired(self, client: Client, token: Callable[..., str]) -> None:
        with client(token=token(seconds=-120)) as searching, pytest.raises(PermissionRefused, match="expired"):
            searching.search(QUERY)

    def test_expired_after_it_was_good(self, client: Client, token: Callable[..., str]) -> None:
        with client(token=token(seconds=-54)) as searching:  # Envoy allows clocks to differ by 60 s
            searching.search(QUERY)
            time.sleep(9)
            with pytest.raises(PermissionRefused, match="expired"):
                searching.search(QUERY)

    def test_of_another_key(self, client: Client, token: Callable[..., str], tmp_path: Path) -> None:
        security(["keys", "--out", str(tmp_path)])
        forged = make_token(tmp_path / "token.key", subject="shop", roles=["search"], expires=HOUR)
        with client(token=forged) as searching, pytest.raises(PermissionRefused):
            searching.search(QUERY)

    def test_altered(self, client: Client, token: Callable[..., str]) -> None:
        head, body, signature = token(residency=None).split(".")
        other = token().split(".")[1]
        with client(token=f"{head}.{other}.{signature}") as searching, pytest.raises(PermissionRefused):
            searching.search(QUERY)
        assert body != other

    def test_unsigned(self, client: Client, token: Callable[..., str]) -> None:
        body = token().split(".")[1]
        with client(token=f"eyJhbGciOiJub25lIn0.{body}.") as searching, pytest.raises(PermissionRefused):
            searching.search(QUERY)

    def test_for_another_audience(self, gateway: Open, client: Client) -> None:
        with gateway(security={"audiences": ("billing",)}), client() as searching, pytest.raises(PermissionRefused):
            searching.search(QUERY)


class TestRole:
    @pytest.fixture
    def send(
        self, hybrid: Hybrid, gateway: Open, secrets: Path, token: Callable[..., str]
    ) -> Iterator[Callable[..., grpc.StatusCode]]:
        with gateway() as opened:

            def send(role: str, content: bytes, path: str = f"{SERVICE}ModelInfer") -> grpc.StatusCode:
                caller = Caller(opened.settings.port, secrets, token(role))
                try:
                    return caller.send(content, path=path)
                finally:
                    caller.close()

            yield send

    def test_models(self, send: Callable[..., grpc.StatusCode]) -> None:
        own = {"search": "search_personal", "recommend": "recommend", "events": "events", "admin": "privacy"}
        for role in own:
            for owner, model in own.items():
                status = send(role, message(model, ("user", "BYTES", [1, 1], packed(b"u-1"))).SerializeToString())
                assert (status is grpc.StatusCode.PERMISSION_DENIED) == (role != owner), (role, model)

    def test_steps_are_nobodys(self, send: Callable[..., grpc.StatusCode]) -> None:
        for role in ("search", "admin"):
            content = query_message("shoes", model="preprocess").SerializeToString()
            assert send(role, content) is grpc.StatusCode.PERMISSION_DENIED

    @pytest.mark.parametrize(
        "method",
        [
            "RepositoryModelLoad",
            "RepositoryModelUnload",
            "SystemSharedMemoryRegister",
            "CudaSharedMemoryRegister",
            "TraceSetting",
            "LogSettings",
            "ModelStreamInfer",
        ],
    )
    def test_control_is_nobodys(self, send: Callable[..., grpc.StatusCode], method: str) -> None:
        assert send("admin", b"", f"{SERVICE}{method}") is grpc.StatusCode.PERMISSION_DENIED

    def test_statistics_are_not_for_search(self, send: Callable[..., grpc.StatusCode]) -> None:
        assert send("search", b"", f"{SERVICE}ModelStatistics") is grpc.StatusCode.PERMISSION_DENIED

    def test_readiness_is_everybodys(self, send: Callable[..., grpc.StatusCode]) -> None:
        assert send("events", b"", f"{SERVICE}ServerReady") is grpc.StatusCode.OK

    def test_the_error_says_what_to_do(self, client: Client, token: Callable[..., str], gateway: Open) -> None:
        with gateway(), client(token=token("events")) as searching, pytest.raises(PermissionRefused, match="role"):
            searching.search(QUERY)


class TestLimits:
    def test_size(self, gateway: Open, client: Client) -> None:
        with gateway(limits={"request_bytes": 2048}), client() as searching:
            assert searching.search(QUERY).hits
            with pytest.raises(InvalidQuery, match="too large"):
                searching.search("x" * 4096)

    def test_size_in_many_frames(self, gateway: Open, client: Client) -> None:
        with gateway(limits={"request_bytes": 2048}), client() as searching, pytest.raises(SearchError):
            searching.search("x" * 1_000_000)

    def test_rate_of_one_subject(self, gateway: Open, client: Client, token: Callable[..., str]) -> None:
        with gateway(limits={"requests_per_second": 5}), client(token=token(subject="noisy")) as noisy:
            begun, refused = time.monotonic(), 0
            while time.monotonic() < begun + 0.5:
                try:
                    noisy.search(QUERY)
                except Overloaded:
                    refused += 1
            assert refused
            with client(token=token(subject="quiet")) as quiet:
                assert quiet.search(QUERY).hits

    def test_connections(self, gateway: Open, client: Client) -> None:
        with gateway(limits={"connections": 1}), client() as first:
            assert first.search(QUERY).hits
            with client(timeout=0.5) as second, pytest.raises(SearchError):
                second.search(QUERY)
            assert first.search(QUERY).hits


class TestCertificates:
    def test_plain_text_is_refused(self, hybrid: Hybrid, gateway: Open, token: Callable[..., str]) -> None:
        with (
            gateway() as opened,
            SearchClient(f"localhost:{opened.settings.port}", token=token(), timeout=0.5, retries=0) as searching,
            pytest.raises(SearchError),
        ):
            searching.search(QUERY)

    def test_callers_certificate_where_asked(self, gateway: Open, secrets: Path, token: Callable[..., str]) -> None:
        with gateway(security={"client_ca": secrets / "client_ca.crt"}) as opened:
            address = f"localhost:{opened.settings.port}"
            own = TLS(secrets / "ca.crt", secrets / "client.crt", secrets / "client.key")
            with SearchClient(address, tls=own, token=token(), retries=0) as searching:
                assert searching.search(QUERY).hits
            with (
                SearchClient(address, tls=TLS(secrets / "ca.crt"), token=token(), retries=0, timeout=0.5) as nobody,
                pytest.raises(SearchError),
            ):
                nobody.search(QUERY)

    @pytest.mark.parametrize("name", ["private", "public"])
    def test_a_site_answers_the_gateway_alone(self, hybrid: Hybrid, secrets: Path, name: str) -> None:
        address = f"localhost:{getattr(hybrid, name).settings.grpc_port}"
        tls = {
            "gateway": TLS(secrets / "ca.crt", secrets / "gateway.crt", secrets / "gateway.key"),
            "client": TLS(secrets / "ca.crt", secrets / "client.crt", secrets / "client.key"),
            "nobody": TLS(secrets / "ca.crt"),
        }
        with SearchClient(address, tls=tls["gateway"], retries=0) as good:
            assert good.search(QUERY).hits
        for other in ("client", "nobody"):
            with (
                SearchClient(address, tls=tls[other], retries=0, timeout=0.5) as stranger,
                pytest.raises(SearchError),
            ):
                stranger.search(QUERY)

    def test_a_false_site_gets_nothing(self, hybrid: Hybrid, gateway: Open, client: Client) -> None:
        wrong = hybrid.gateway.settings.private.model_copy(update={"server_name": "public.triton"})
        hybrid.gateway.down()
        with (
            Gateway(hybrid.gateway.settings.model_copy(update={"private": wrong})),
            client(timeout=1) as searching,
            pytest.raises(ConnectionFailed, match="must not leave"),
        ):
            searching.search(QUERY, user="u-1")

    def test_a_site_lets_not_even_the_gateway_control_it(self, hybrid: Hybrid, secrets: Path) -> None:
        credentials = grpc.ssl_channel_credentials(
            *((secrets / name).read_bytes() for name in ("ca.crt", "gateway.key", "gateway.crt"))
        )
        address = f"localhost:{hybrid.private.settings.grpc_port}"
        with grpc.secure_channel(address, credentials) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            assert stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=5).ready
            with pytest.raises(grpc.RpcError) as refused:
                stub.RepositoryModelUnload(service_pb2.RepositoryModelUnloadRequest(model_name="search"), timeout=5)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            with pytest.raises(grpc.RpcError):
                stub.SystemSharedMemoryStatus(service_pb2.SystemSharedMemoryStatusRequest(), timeout=5)


def test_admin_socket_is_the_owners(hybrid: Hybrid, gateway: Open) -> None:
    with gateway() as opened:
        assert (opened.settings.run_dir / "admin.sock").stat().st_mode & 0o077 == 0
        assert (opened.settings.run_dir / "gate.sock").stat().st_mode & 0o077 == 0


def test_log_holds_the_decision_and_no_personal_data(hybrid: Hybrid, gateway: Open, client: Client) -> None:
    with gateway() as opened, client() as searching:
        log = opened.settings.run_dir / "audit.jsonl"
        already = len(log.read_text().splitlines()) if log.exists() else 0
        searching.search("zanzibar shoes", request_id="a" * 32)
        searching.search("zanzibar shoes", user="u-4711", request_id="b" * 32)
        deadline = time.monotonic() + 5
        while len(lines := log.read_text().splitlines()[already:]) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    first, second = (json.loads(line) for line in lines)
    assert (first["request_id"], first["decision"], first["site"]) == ("a" * 32, "burstable", "private")
    assert (second["decision"], second["reason"], second["model"]) == ("private", "a user", "search")
    assert (second["subject"], second["status"]) == ("shop", "OK")
    assert "zanzibar" not in "".join(lines)
    assert "4711" not in "".join(lines)
