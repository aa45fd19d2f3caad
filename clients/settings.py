"""Where the server is and how to reach it: what every online program asks its surroundings."""

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from shelfbridge.client import TLS
from shelfbridge.errors import SettingsError


class ClientSettings(BaseSettings):
    """Each field is an environment variable too (SHELFBRIDGE_ADDRESS, …); flags go before it."""

    model_config = SettingsConfigDict(env_prefix="SHELFBRIDGE_", frozen=True)

    address: str = Field("localhost:8001", description="host:port of the server's or the gateway's gRPC endpoint")
    timeout: float = Field(2.0, gt=0, description="seconds that a search may take, retries included")
    retries: int = Field(2, ge=0, description="how often to ask again when the server is unavailable")
    token: SecretStr | None = Field(None, description="proof of identity; no flag, so that no process list shows it")
    token_file: Path | None = Field(None, description="file that holds the token; goes before SHELFBRIDGE_TOKEN")
    tls: bool = Field(False, description="encrypt; so does any of the following three")
    tls_root: Path | None = Field(None, description="PEM file of the authorities to trust")
    tls_cert: Path | None = Field(None, description="PEM file of the client's own certificate")
    tls_key: Path | None = Field(None, description="PEM file of that certificate's key")

    def client_arguments(self) -> dict[str, Any]:
        """The arguments of `SearchClient` and `AsyncSearchClient`.

        Raises:
            SettingsError: the token file cannot be read.
        """
        files = (self.tls_root, self.tls_cert, self.tls_key)
        encrypted = self.tls or any(files)
        return {
            "address": self.address,
            "timeout": self.timeout,
            "retries": self.retries,
            "token": self._token(),
            "tls": TLS(root=self.tls_root, certificate=self.tls_cert, key=self.tls_key) if encrypted else None,
        }

    def describe(self) -> str:
        """One line for the start of a program, secrets redacted."""
        return " ".join(f"{name}={value}" for name, value in self.model_dump().items() if value is not None)

    def _token(self) -> str | None:
        if self.token_file is None:
            return self.token.get_secret_value() if self.token else None
        try:
            return self.token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise SettingsError(f"token file {self.token_file}: {reason}; give a readable file") from error
