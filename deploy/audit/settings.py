"""What can be set about the collector: each field is a flag and an environment variable SHELFBRIDGE_AUDIT_<NAME>."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy import ROOT


class AuditSettings(BaseSettings):
    """One audit log, by default that of deploy/topologies/example.toml. Keys are named by their files, never shown."""

    model_config = SettingsConfigDict(env_prefix="SHELFBRIDGE_AUDIT_", frozen=True)

    folder: Path = Field(ROOT / "out/audit", description="folder of the log")
    key: Path = Field(ROOT / "out/security/audit.key", description="file of the key that seals lines")


class CollectorSettings(AuditSettings):
    """How the log is written."""

    source: Path = Field(description="the gateway's access log, a named pipe, or - for standard input")
    pseudonym_key: Path = Field(description="file of the key of pseudonyms, that of the profiles")
    private_release: Path | None = Field(
        None, description="release of the private site: names the version that answered where a request names none"
    )
    public_release: Path | None = Field(None, description="the same of the public site")
    max_bytes: int = Field(64 << 20, ge=1 << 10, description="a file of the log that is larger is followed by another")
