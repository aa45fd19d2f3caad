"""What a hybrid cloud consists of, in one file that people can read."""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy import ROOT
from deploy.gateway.settings import Limits, OfProject, Policies, Port, Security, Settings
from shelfbridge.errors import SettingsError
from shelfbridge.request import explain

EXAMPLE = Path("deploy/topologies/example.toml")


class Site(Settings):
    """A Triton and what it costs."""

    release: OfProject = Field(description="folder of a release")
    release_key: OfProject | None = Field(None, description="release.pub: a release that it did not sign is refused")
    port: int = Field(ge=1, le=65533, description="of gRPC; HTTP and metrics take the next two")
    processes: int = Field(2, ge=1, description="searches answered at a time")
    result_cache: float = Field(
        32, ge=0, allow_inf_nan=False, description="megabytes of answers that each process keeps"
    )
    query_cache: float = Field(
        16, ge=0, allow_inf_nan=False, description="megabytes of encoded queries that each process keeps"
    )
    cores: tuple[int, ...] = Field((), description="of this machine, that the site may use; all where none is named")
    capacity: int = Field(ge=1, description="requests in flight that it takes")
    price_per_hour: float = Field(ge=0, description="of this site, in any currency")
    price_per_gigabyte: float = Field(0, ge=0, description="of what leaves it")


class PrivateSite(Site):
    """The site that knows shoppers: no other may be told where their profiles are."""

    profiles: SecretStr | None = Field(
        None, description="redis:// or redis+cluster://, counted by a consumer beside the site; none is a SQLite file"
    )


class Wan(Settings):
    """The way between the gateway and the public site."""

    kind: Literal["namespaces", "relay"] | None = Field(
        None, description="network namespaces (needs root) or a TCP relay; the first where it can be had"
    )
    rtt_ms: float = Field(0, ge=0)
    jitter_ms: float = Field(0, ge=0, description="each way's delay varies by so much, up or down")
    mbit_per_s: float = Field(1000, gt=0, description="each way")
    loss: float = Field(0, ge=0, lt=1, description="share of packets that get lost")


class Front(Settings):
    """Where callers reach the gateway."""

    host: str = "127.0.0.1"
    port: int = Port


class Audit(Settings):
    """Where the collector keeps the gateway's lines."""

    folder: OfProject = Field(description="folder of the log")
    key: OfProject = Field(description="file of the key that seals lines: audit.key")
    pseudonym_key: OfProject = Field(
        description="file of the key of pseudonyms, that of the private site; made if missing"
    )


class Topology(Settings):
    """Sites, gateway, WAN, policies, security and audit."""

    run_dir: OfProject = Field(ROOT / "out/hybrid", description="folder of all logs, configs and states")
    gateway: Front
    private: PrivateSite
    public: Site
    wan: Wan = Wan()
    policies: Policies = Policies()
    limits: Limits = Limits()
    security: Security
    audit: Audit | None = Field(None, description="without it nobody collects the gateway's lines")


class HybridSettings(BaseSettings):
    """What a command is about."""

    model_config = SettingsConfigDict(env_prefix="SHELFBRIDGE_", frozen=True)

    topology: Path = Field(EXAMPLE, description="TOML file of the sites, the gateway and the WAN")


def load(path: Path) -> Topology:
    """Read a topology. A relative path is looked for here, then in the project's folder; those in the file are relative
    to the latter.

    Raises:
        SettingsError: the file cannot be read or a value cannot be used; the message names it.
    """
    found = path if path.exists() else ROOT / path
    try:
        given: dict[str, Any] = tomllib.loads(found.read_text(encoding="utf-8"))
        return Topology.model_validate(given)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; give --topology a file, such as {EXAMPLE}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is no TOML: {error}") from error
    except ValidationError as error:
        raise SettingsError(f"{path}: {explain(error)}") from error
