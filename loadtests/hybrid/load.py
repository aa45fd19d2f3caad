"""What Locust is told: whom to ask, what, how often, and where to write what came of it."""

from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from loadtests.hybrid.scenarios import Stage
from loadtests.hybrid.traffic import MIX, Kind

START = "start"
"""Key of the file's first line: when the load began, in seconds since 1970. The others are a `Row` each."""


class Row(NamedTuple):
    """One request as the load generator saw it.

    time: when it was sent, in seconds since 1970. ms: until it was answered or had failed, as the caller saw it. error:
    name of the exception; empty where it was answered. steps: milliseconds by step, as the server says.
    """

    time: float
    kind: str
    ms: float
    id: str
    error: str = ""
    words: str = ""
    steps: dict[str, float] = {}  # noqa: RUF012


class Load(BaseModel):
    """One load, as JSON; each worker reads its own copy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str = Field("localhost:8443", description="host:port of the gateway, or of a Triton")
    root: Path | None = Field(None, description="certificates to trust; none sends in clear")
    certificate: Path | None = Field(None, description="the caller's own, where the other side asks for one")
    key: Path | None = Field(None, description="of that certificate")
    token_file: Path | None = Field(None, description="file with the token; none sends none")
    timeout: float = Field(2.0, gt=0, description="seconds that a request may take")
    retries: int = Field(0, ge=0, description="of the client library; 0 shows every failure")
    shop: Path = Field(description="what visitors ask for: JSON of python -m loadtests.hybrid shop")
    mix: dict[Kind, float] = Field(MIX, min_length=1, description="share of each kind of request")
    think: float = Field(1.0, gt=0, description="mean seconds between two requests of a visitor, exponentially spread")
    stages: tuple[Stage, ...] = Field(min_length=1, description="the rate while time goes by")
    rows: Path = Field(description="file to write: a JSON line a request")
    seed: int = 7

    @property
    def token(self) -> str | None:
        """What the file holds."""
        return self.token_file.read_text().strip() if self.token_file else None
