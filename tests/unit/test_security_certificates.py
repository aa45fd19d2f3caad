"""Who is let in by the development certificates, by real TLS handshakes."""

import base64
import datetime
import json
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509

from deploy.security.__main__ import main
from deploy.security.certificates import make_certificates
from deploy.security.tokens import make_token
from shelfbridge.errors import SettingsError
from shelfbridge.profiles.pseudonym import read_secret


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    assert main(["ca", "--out", str(folder)]) == 0
    return folder


def greet(folder: Path, *, server: str, trusts: str, client: str | None, host: str, root: str = "ca") -> bool:
    """Whether a server that asks for certificates of `trusts` and a client of it come to speak."""
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / f"{trusts}.crt")
    theirs.load_cert_chain(folder / f"{server}.crt", folder / f"{server}.key")
    theirs.verify_mode = ssl.CERT_REQUIRED
    mine = ssl.create_default_context(cafile=folder / f"{root}.crt")
    if client:
        mine.load_cert_chain(folder / f"{client}.crt", folder / f"{client}.key")
    near, far = socket.socketpair()
    heard: list[bytes] = []

    def serve() -> None:
        try:
            with theirs.wrap_socket(far, server_side=True) as peer:
                heard.append(peer.recv(5))
                peer.send(b"hello")
        except OSError:
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with mine.wrap_socket(near, server_hostname=host) as peer:
            peer.send(b"hello")
            return peer.recv(5) == b"hello" and heard == [b"hello"]
    except OSError:
        return False
    finally:
        near.close()
        thread.join()


@pytest.mark.parametrize("site", ["private", "public"])
def test_a_site_lets_the_gateway_in(folder: Path, site: str) -> None:
    assert greet(folder, server=site, trusts="ca", client="gateway", host=f"{site}.triton")


@pytest.mark.parametrize("client", [None, "client", "private", "public"])
def test_a_site_lets_nobody_else_in(folder: Path, client: str | None) -> None:
    assert not greet(folder, server="private", trusts="ca", client=client, host="private.triton")


def test_the_public_site_cannot_pass_for_the_private_one(folder: Path) -> None:
    assert not greet(folder, server="public", trusts="ca", client="gateway", host="private.triton")


def test_a_site_of_another_authority_is_refused(folder: Path) -> None:
    assert not greet(folder, server="private", trusts="ca", client="gateway", host="private.triton", root="client_ca")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_gateway_lets_a_client_in(folder: Path, host: str) -> None:
    assert greet(folder, server="gateway", trusts="client_ca", client="client", host=host)


@pytest.mark.parametrize("client", [None, "private", "gateway"])
def test_the_gateway_lets_no_other_certificate_in(folder: Path, client: str | None) -> None:
    assert not greet(folder, server="gateway", trusts="client_ca", client=client, host="localhost")


def test_keys_are_for_their_owner_alone_and_certificates_end_in_a_year(folder: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*.key")} == {0o600}
    for path in folder.glob("*.crt"):
        until = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        assert until - datetime.datetime.now(datetime.UTC) < datetime.timedelta(days=366)


def test_nothing_is_overwritten(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "public.key").write_text("mine")
    assert main(["ca", "--out", str(tmp_path)]) == 2
    assert f"{tmp_path / 'public.key'} exists" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["public.key"]
    assert main(["keys", "--out", str(folder)]) == 0
    assert main(["keys", "--out", str(folder)]) == 2


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    key = tmp_path / "a.key"
    key.write_text("secret")
    for mode in (0o600, 0o440):
        key.chmod(mode)
        assert read_secret(key) == b"secret"
    for mode in (0o644, 0o660, 0o604):
        key.chmod(mode)
        with pytest.raises(SettingsError, match="chmod 600") as caught:
            read_secret(key)
        assert "secret" not in str(caught.value)


def test_certificates_and_tokens_follow_the_clock_that_is_given(tmp_path: Path) -> None:
    assert main(["keys", "--out", str(tmp_path)]) == 0
    leap = datetime.datetime(2028, 2, 29, 12, tzinfo=datetime.UTC)
    made = make_certificates(leap.timestamp)
    for name, text in made.items():
        if name.endswith(".crt"):
            certificate = x509.load_pem_x509_certificate(text)
            assert certificate.not_valid_before_utc == leap - datetime.timedelta(minutes=5)
            assert certificate.not_valid_after_utc == leap + datetime.timedelta(days=365)
    hour = datetime.timedelta(hours=1)
    token = make_token(tmp_path / "token.key", subject="s", roles=["search"], expires=hour, clock=leap.timestamp)
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert (claims["iat"], claims["exp"]) == (leap.timestamp(), (leap + hour).timestamp())
