"""What can be set about the gateway."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from deploy import ROOT
from deploy.security.tokens import AUDIENCE, ISSUER

Port = Field(ge=1, le=65535)
Seconds = Annotated[float, Field(ge=0.001, le=86_400)]
"""Envoy counts in milliseconds at the least, and reads no exponents."""
OfProject = Annotated[Path, AfterValidator(lambda path: ROOT / path)]
"""A path that is relative to the project's folder, so that it means the same wherever a program was started."""


class Settings(BaseModel):
    """Settings that cannot be changed once made, and know no other names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Policies(Settings):
    """When searches go to the public site, and what the gateway does about a site that is full, slow or dead."""

    burst_above: int = Field(4, ge=0, description="anonymous searches in flight on the private site before more burst")
    max_bursts: int = Field(64, ge=0, description="searches in flight that may be retried on the public site")
    per_try_timeout: Seconds = Field(0.4, description="seconds that a site gets before the other one is asked")
    private_timeout: Seconds = Field(1, description="seconds that it gets for what no other site may answer")
    deadline: Seconds = Field(10, description="most seconds a call may take; a caller's shorter deadline holds")
    health_interval: Seconds = Field(0.5, description="seconds between two health checks of a site")
    health_timeout: Seconds = Field(0.5, description="seconds until an unanswered health check has failed")
    eject_after: int = Field(3, ge=1, description="consecutive failures until a site is left out")
    eject_seconds: Seconds = Field(1, description="how long it is left out, unless a health check succeeds before")


class Limits(Settings):
    """What one caller may ask of the gateway."""

    request_bytes: int = Field(65536, ge=1024, description="largest request")
    requests_per_second: int = Field(5000, ge=1, description="of one subject")
    connections: int = Field(1000, ge=1, description="open at a time, of all callers together")
    streams: int = Field(1000, ge=1, description="calls in flight on one connection")


class Security(Settings):
    """Certificates and tokens."""

    certificates: OfProject = Field(description="folder with ca.crt, and gateway, private and public as .crt and .key")
    jwks: OfProject = Field(description="JWKS file with the keys that sign tokens")
    issuer: str = Field(ISSUER, description="who must have issued a token")
    audiences: tuple[str, ...] = Field((AUDIENCE,), description="for whom a token must be; one of these suffices")
    client_ca: OfProject | None = Field(
        None, description="authorities of which callers must show a certificate; none asks for none"
    )


class Endpoint(Settings):
    """A site as the gateway reaches it."""

    host: str = "127.0.0.1"
    port: int = Port
    server_name: str = Field(description="DNS name that its certificate must bear")
    capacity: int = Field(ge=1, description="requests in flight that it takes")


class GatewaySettings(Settings):
    """One gateway. Two may run side by side if their run folders and ports differ."""

    run_dir: Path = Field(description="folder of the gateway's config, logs, sockets and state")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Port
    private: Endpoint
    public: Endpoint
    policies: Policies = Policies()
    limits: Limits = Limits()
    security: Security
    workers: int = Field(1, ge=1, description="threads of Envoy; one carries what two cores of Triton can answer")
