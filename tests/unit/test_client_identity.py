"""Who is who: TLS in both directions with authorities made here, and the token."""

import shutil
import subprocess

import grpc
import pytest

from shelfbridge.client import TLS, AsyncSearchClient, SearchClient
from shelfbridge.errors import ConnectionFailed
from tests.unit.scripted_server import serve

TOKEN = "s3cret-t0ken"


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_authority(folder, name):
    files = ("-keyout", f"{name}.key", "-out", f"{name}.pem")
    openssl(folder, "req", "-x509", *KEY, "-days", "2", "-subj", f"/CN={name}", *files)


def make_certificate(folder, authority, name, alternative):
    openssl(folder, "req", "-new", *KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (folder / "extensions").write_text(f"subjectAltName={alternative}\n")
    signer = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial")
    files = ("-in", f"{name}.csr", "-extfile", "extensions", "-out", f"{name}.pem")
    openssl(folder, "x509", "-req", "-days", "2", *signer, *files)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A folder with authority `ca`, certificates `server` and `client` by it, and the stranger `other`."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("keys")
    make_authority(folder, "ca")
    make_authority(folder, "other")
    make_certificate(folder, "ca", "server", "DNS:localhost")
    make_certificate(folder, "ca", "client", "DNS:shop")
    return folder


@pytest.fixture(scope="module")
def secured(keys):
    """A server that shows its certificate and wants one of its clients."""
    pair = ((keys / "server.key").read_bytes(), (keys / "server.pem").read_bytes())
    credentials = grpc.ssl_server_credentials([pair], (keys / "ca.pem").read_bytes(), require_client_auth=True)
    with serve(credentials=credentials) as server:
        yield server


def mutual(keys):
    return TLS(root=keys / "ca.pem", certificate=keys / "client.pem", key=str(keys / "client.key"))


def test_mutual_tls(secured, keys):
    with SearchClient(secured.address, tls=mutual(keys)) as client:
        assert client.ready()
        assert client.search("boots", k=1).hits[0].product_id == "P1"


async def test_mutual_tls_on_a_loop(secured, keys):
    async with AsyncSearchClient(secured.address, tls=mutual(keys)) as client:
        assert (await client.search("boots", k=1)).hits[0].product_id == "P1"


def test_a_server_of_another_authority_is_not_believed(secured, keys):
    stranger = TLS(root=keys / "other.pem", certificate=keys / "client.pem", key=keys / "client.key")
    before = len(secured.seen)
    with (
        SearchClient(secured.address, tls=stranger, token=TOKEN, retries=0) as client,
        pytest.raises(ConnectionFailed, match=r"no TLS with .*CERTIFICATE_VERIFY_FAILED.*check the certificates"),
    ):
        client.search("boots")
    assert len(secured.seen) == before


def test_a_client_without_certificate_is_refused(secured, keys):
    before = len(secured.seen)
    with (
        SearchClient(secured.address, tls=TLS(root=keys / "ca.pem"), retries=0) as client,
        pytest.raises(ConnectionFailed),
    ):
        client.search("boots")
    assert len(secured.seen) == before


def test_the_token_is_sent_and_never_shown(capfd):
    with serve() as server, SearchClient(server.address, token=TOKEN) as client:
        result = client.search("boots", k=1)
        client.ready()
        assert TOKEN not in repr(client)
        assert "token=***" in repr(client)
    assert server.seen[0].metadata["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in repr(result)
    assert TOKEN not in "".join(capfd.readouterr())


async def test_the_token_is_sent_on_a_loop():
    with serve() as server:
        async with AsyncSearchClient(server.address, token=TOKEN) as client:
            await client.search("boots", k=1)
            assert repr(client) == (
                f"AsyncSearchClient('{server.address}', tls=False, token=***, timeout=2, retries=2)"
            )
    assert server.seen[0].metadata["authorization"] == f"Bearer {TOKEN}"
