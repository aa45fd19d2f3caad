"""What Locust is told: whom to ask, what, how often, and where to write what came of it."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loadtests.hybrid.scenarios import Stage
from loadtests.hybrid.traffic import MIX, Kind
from shelfbridge.errors import SettingsError
from shelfbridge.request import explain


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

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read one.

        Raises:
            SettingsError: the file cannot be read, or a value cannot be used.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror}; name a load's JSON file (--load)") from error
        except ValidationError as error:
            raise SettingsError(f"{path}: {explain(error)}") from error

    @property
    def token(self) -> str | None:
        """What the file holds."""
        return self.token_file.read_text().strip() if self.token_file else None
