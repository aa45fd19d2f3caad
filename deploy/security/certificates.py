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
        builder = (
            _certificate(_name(name), _name(name), key, clock)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )
        return cls(key, builder.sign(key, SHA256()), clock)

    def issue(self, name: str, *, hosts: Sequence[str], uses: Sequence[x509.ObjectIdentifier]) -> dict[str, bytes]:
        """A key and a certificate for it, by file name."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _certificate(_name(name), self.certificate.subject, key, self.clock)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), False)
        certificate = builder.sign(self.key, SHA256())
        return {f"{name}.crt": certificate.public_bytes(Encoding.PEM), f"{name}.key": private_pem(key)}

    def files(self, name: str) -> dict[str, bytes]:
        """Its own key and certificate, by file name."""
        return {f"{name}.crt": self.certificate.public_bytes(Encoding.PEM), f"{name}.key": private_pem(self.key)}


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
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, clock: Clock
) -> x509.CertificateBuilder:
    now = datetime.datetime.fromtimestamp(clock(), datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
