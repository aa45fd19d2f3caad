"""A development CA and what it signs. In production the same file names hold certificates of your own authority.

There are two authorities, because Triton takes every client certificate that its root signed: the sites trust `ca.crt`,
which signs the gateway alone as a client, and the gateway trusts `client_ca.crt`. A shop's certificate opens no site.
"""

import datetime
import ipaddress
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.security.keys import private_pem
from shelfbridge.clock import Clock

HERE = ("localhost", "127.0.0.1")
DAYS = 365
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True)
class Authority:
    """A certificate that signs others."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    clock: Clock = time.time

    @classmethod
    def make(cls, name: str, clock: Clock = time.time) -> Self:
        """A new one, signed by itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, _certificate(name, _name(name), key, clock, is_authority=True).sign(key, SHA256()), clock)

    def issue(self, name: str, *, hosts: Sequence[str], uses: Sequence[x509.ObjectIdentifier]) -> dict[str, bytes]:
        """A key and a certificate for it, by file name."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _certificate(name, self.certificate.subject, key, self.clock, is_authority=False)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), False)
        return _files(name, key, builder.sign(self.key, SHA256()))

    def files(self, name: str) -> dict[str, bytes]:
        """Its own key and certificate, by file name."""
        return _files(name, self.key, self.certificate)


def make_certificates(clock: Clock = time.time) -> dict[str, bytes]:
    """All that gateway, sites and a client need, by file name."""
    inner = Authority.make("Shelfbridge development CA", clock)
    clients = Authority.make("Shelfbridge development client CA", clock)
    return {
        **inner.files("ca"),
        **inner.issue("gateway", hosts=("gateway.triton", *HERE), uses=(SERVER, CLIENT)),
        **inner.issue("private", hosts=("private.triton", *HERE), uses=(SERVER,)),
        **inner.issue("public", hosts=("public.triton", *HERE), uses=(SERVER,)),
        **clients.files("client_ca"),
        **clients.issue("client", hosts=(), uses=(CLIENT,)),
    }


def _certificate(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, clock: Clock, *, is_authority: bool
) -> x509.CertificateBuilder:
    now = datetime.datetime.fromtimestamp(clock(), datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True)
        .add_extension(usage, critical=True)
    )


def _files(name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> dict[str, bytes]:
    return {f"{name}.crt": certificate.public_bytes(Encoding.PEM), f"{name}.key": private_pem(key)}


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
