"""What the audit log keeps of a request. A field or value that is not foreseen here does not come in."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, field_validator

from shelfbridge.contract import MODELS
from shelfbridge.errors import ArtefactError
from shelfbridge.profiles import Pseudonyms

Versions = Mapping[str, Mapping[str, str]]
"""Version by site and model: the gateway reads requests, not answers, and most requests name none."""
_METHOD = r"^/(inference\.GRPCInferenceService/[A-Za-z]{1,40}|grpc\.health\.v1\.Health/(Check|Watch))$"
_WORDS = r"^[A-Za-z][A-Za-z0-9 _.,:|{}\[\]-]{0,159}$"
"""What the gateway says of a request in its own words."""
UNREACHED = {"UF", "UH", "UO"}
"""Envoy's flags where it chose a site, and then sent it nothing: no connection, none healthy, too many requests."""
UNREADABLE = "the gateway's line could not be read"
GAP = "lines of the gateway were rotated away or cut off before they were read"


class Record(BaseModel):
    """One request. A value of another form than its field's becomes null, since it may be anything a caller sent."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    time: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$")] | None = None
    request_id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$")] | None = None
    """A UUID, as the client library and Envoy make them; an id of a caller's own making may hold anything."""
    subject: Annotated[str, Field(pattern=r"^[a-z2-7]{26}$")] | None = None
    """Pseudonym of the token's subject."""
    method: Annotated[str, Field(pattern=_METHOD)] | None = None
    model: str | None = None
    version: Annotated[str, Field(pattern=r"^\d{1,9}$")] | None = None
    """What the request asked for, else what the site has."""
    site: Literal["private", "public"] | None = None
    """That of the last attempt; nothing where it was the only one and reached none."""
    decision: Literal["private", "burstable", "refused", "unreadable", "gap"] | None = None
    reason: Annotated[str, Field(pattern=_WORDS)] | None = None
    details: Annotated[str, Field(pattern=_WORDS)] | None = None
    """Why Envoy answered as it did."""
    status: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]{1,31}$")] | None = None
    """Of gRPC, by name."""
    http_status: Annotated[int, Field(ge=100, le=599)] | None = None
    flags: Annotated[str, Field(pattern=r"^[A-Z]{2,5}(,[A-Z]{2,5}){0,9}$")] | None = None
    attempts: Annotated[int, Field(ge=0, le=99)] | None = None
    latency_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @field_validator("*", mode="wrap")
    @classmethod
    def _fitting(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            return check(value)
        except ValidationError:
            return None

    @field_validator("model")
    @classmethod
    def _known(cls, model: str | None) -> str | None:
        return model if model in MODELS else None


def read(line: bytes, pseudonyms: Pseudonyms, versions: Versions = MappingProxyType({})) -> Record:
    """The record of a line that the gateway wrote; one that says so where the line cannot be read."""
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        return Record(decision="unreadable", reason=UNREADABLE)
    subject = given.get("subject")
    who = pseudonyms.of(subject) if isinstance(subject, str) and subject else None
    record = Record.model_validate({**given, "subject": who})
    flags = set((record.flags or "").split(","))
    site = None if record.attempts == 1 and flags & UNREACHED else record.site
    version = record.version or versions.get(site or "", {}).get(record.model or "")
    return record.model_copy(update={"site": site, "version": version})


def served(release: Path) -> dict[str, str]:
    """The version of each model that Triton serves of a release where a request names none: the newest.

    Raises:
        ArtefactError: there is no model.
    """
    found: dict[str, int] = {}
    for folder in release.glob("*/[0-9]*"):
        if folder.name.isdigit():
            found[folder.parent.name] = max(int(folder.name), found.get(folder.parent.name, 0))
    if not found:
        raise ArtefactError(f"{release} holds no model; name the folder of the release that the site serves")
    return {model: str(version) for model, version in found.items()}
