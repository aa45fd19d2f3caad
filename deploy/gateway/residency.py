"""The gateway's judgement of content: a Lua text, with what it must know of the contract before it."""

from collections.abc import Iterable
from pathlib import Path

from shelfbridge.contract import MODELS
from shelfbridge.request import Filters

BURSTABLE = ("search", "search_deep")
"""Models that may answer on the public side: a search of the catalogue that looks at no profile."""
CLAIMS = {"public-ok": "nobody", "pseudonymous-ok": "pseudonyms"}
"""Whom searches that may leave the private site may carry, by the token's claim `residency`."""
HEADERS = ("content-type", "te", "grpc-timeout", "x-request-id", "traceparent", "x-forwarded-proto")
"""All that a site sees of a caller's headers, beside HTTP/2's own; without the last Envoy finds no route."""
METADATA = "shelfbridge"
"""Namespace of Envoy's dynamic metadata that holds the judgement; no caller can write there."""
_WIRE_TYPES = {"STRING": "BYTES"}


def source(request_bytes: int) -> str:
    """The Lua text, for requests up to this size."""
    inputs = {tensor.name: _WIRE_TYPES.get(tensor.dtype, tensor.dtype) for tensor in MODELS[BURSTABLE[0]].inputs}
    return "\n".join(
        (
            f"local BURSTABLE = {_set(BURSTABLE)}",
            f"local INPUTS = {_table(inputs)}",
            f"local FILTERS = {_set(Filters.model_fields)}",
            f"local HEADERS = {_set(HEADERS)}",
            f"local CLAIMS = {_table(CLAIMS)}",
            f"local LARGEST = {request_bytes}",
            *(Path(__file__).with_name(f"{name}.lua").read_text(encoding="utf-8") for name in ("message", "residency")),
        )
    )


def _set(names: Iterable[str]) -> str:
    return "{ " + ", ".join(f'["{name}"] = true' for name in names) + " }"


def _table(values: dict[str, str]) -> str:
    return "{ " + ", ".join(f'["{name}"] = "{value}"' for name, value in values.items()) + " }"
