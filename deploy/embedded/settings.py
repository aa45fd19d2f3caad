"""What can be set about an embedded server: each field is a flag and an environment variable SHELFBRIDGE_<NAME>."""

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_serializer
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy import ROOT
from deploy.cores import cores
from deploy.repository import Serving
from shelfbridge.profiles import access
from shelfbridge.profiles.store import RETENTION_DAYS, anchored


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


Here = Annotated[Path, AfterValidator(Path.absolute)]
"""A path that is relative to the folder of whoever gives it, so that it means the same to the server and its keeper."""


class EmbeddedSettings(BaseSettings):
    """One embedded server. Two may run side by side if their run folders and ports differ."""

    model_config = SettingsConfigDict(env_prefix="SHELFBRIDGE_", frozen=True)

    repository: Here = Field(ROOT / "out/releases/current", description="folder of a release")
    release_key: Here | None = Field(
        None, description="public key (release.pub): a release that was not signed with it, or was altered, is refused"
    )
    run_dir: Here = Field(ROOT / "out/server", description="folder of the server's log and state")
    triton: Here | None = Field(
        None,
        description="folder of another Triton to serve with, such as /opt/tritonserver in NVIDIA's containers; none is "
        "that of the wheel",
    )
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 opens the server to the network")
    grpc_port: int = Field(8001, ge=1, le=65535, description="port of gRPC")
    http_port: int = Field(8000, ge=1, le=65535, description="port of HTTP")
    metrics_port: int = Field(8002, ge=1, le=65535, description="port of the Prometheus metrics")
    steps: Literal["together", "apart"] = Field(
        "together",
        description="together: each process answers whole searches; apart: every step of an ensemble is a model of its "
        "own, as with engines",
    )
    processes: int = Field(
        cores(),
        ge=1,
        description="requests answered at a time where the steps are together; as many as there are cores to use",
    )
    instances: int | None = Field(
        None, ge=1, description="instances of each model where the steps are apart; as the release's configs say"
    )
    result_cache: float = Field(
        32,
        ge=0,
        allow_inf_nan=False,
        description="megabytes of answers that each such process keeps; 0 turns the cache off",
    )
    query_cache: float = Field(
        16,
        ge=0,
        allow_inf_nan=False,
        description="megabytes of encoded queries that are kept, by each such process; 0 turns the cache off",
    )
    profiles: Annotated[str, AfterValidator(lambda uri: anchored(uri, Path.cwd()))] | None = Field(
        None,
        description="where shoppers' profiles are kept: sqlite:///path, redis:// or redis+cluster://, the latter two "
        "with python -m deploy.consumer beside them; none is a SQLite file in the run folder",
    )
    key_file: Here | None = Field(
        None,
        description="key of pseudonyms, made if there is none; who loses it loses all profiles (in the run folder)",
    )
    user_tokens: Literal["required", "optional"] = Field(
        "optional", description="whether who names a user must bring the token that proves it"
    )
    retention_days: float = Field(
        RETENTION_DAYS,
        gt=0,
        allow_inf_nan=False,
        description="days that events of shoppers are kept; older ones are refused",
    )
    extra: Annotated[tuple[str, ...], BeforeValidator(_json)] = Field(
        (), description="further flags of tritonserver, as a JSON list"
    )
    start_timeout: float = Field(120, gt=0, description="seconds until all models must be ready")
    exit_timeout: int = Field(30, ge=1, description="seconds that requests in flight get at the end")

    @field_serializer("profiles")
    def _without_password(self, uri: str | None) -> str | None:
        """Settings are shown, and written beside the log: the way into Redis must not be read there."""
        return uri and re.sub(r"(?<=://)(?!/).*@", "***@", uri)

    @property
    def serving(self) -> Serving:
        """How the release is served."""
        return Serving(self.steps, self.processes, self.instances, self.result_cache, self.query_cache)

    @property
    def ports(self) -> dict[str, int]:
        """The ports by what they are for."""
        return {"grpc": self.grpc_port, "http": self.http_port, "metrics": self.metrics_port}

    def flags(self) -> list[str]:
        """The same settings on a command line, but for the address of profiles: it may hold a password, which a command
        line would show to everybody.
        """
        given = self.model_dump(mode="json", exclude={"extra", "profiles"}, exclude_none=True)
        named = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
        return [*named, f"--extra={json.dumps(self.extra)}"]

    def environment(self) -> dict[str, str]:
        """What such a command needs beside the flags, and no other setting that this program was given."""
        names = {f"SHELFBRIDGE_{name.upper()}" for name in type(self).model_fields}
        others = {name: value for name, value in os.environ.items() if name not in names}
        return {**others, **({access.PROFILES: self.profiles} if self.profiles else {})}

    @property
    def store(self) -> str:
        """Address of the store of profiles."""
        return self.profiles or f"sqlite:///{self.run_dir.resolve()}/profiles.sqlite"

    @property
    def key(self) -> Path:
        """File of the key of pseudonyms."""
        return (self.key_file or self.run_dir / "pseudonyms.key").resolve()
