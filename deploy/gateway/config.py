"""Envoy's config: `envoy.yaml.jinja` with the settings in it, and the Lua text that judges a request's content."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from deploy.gateway.settings import GatewaySettings
from deploy.security import roles
from deploy.security.tokens import LONGEST
from shelfbridge.contract import MODELS
from shelfbridge.request import Filters

HERE = Path(__file__).parent
ADMIN = "./admin.sock"
AUDIT_LOG = "./audit.jsonl"
"""The gateway's own lines, one a request; `deploy.audit` collects them."""
BURSTABLE = ("search", "search_deep")
"""Models that may answer on the public side: a search of the catalogue that looks at no profile."""
CLAIMS = {"public-ok": "nobody", "pseudonymous-ok": "pseudonyms"}
"""Whom searches that may leave the private site may carry, by the token's claim `residency`."""
HEADERS = ("content-type", "te", "grpc-timeout", "x-request-id", "traceparent", "x-forwarded-proto")
"""All that a site sees of a caller's headers, beside HTTP/2's own; without the last Envoy finds no route."""


def config(settings: GatewaySettings) -> str:
    """Return the config as YAML. Its relative paths are those of the run folder."""
    security = settings.security
    pages = Environment(loader=FileSystemLoader(HERE), autoescape=True, finalize=_value, undefined=StrictUndefined)
    pages.filters["seconds"] = lambda value: f"{value:g}s"
    return pages.get_template("envoy.yaml.jinja").render(
        **dict(settings),
        admin=ADMIN,
        audit_log=AUDIT_LOG,
        certificates=str(security.certificates.resolve()),
        jwks=str(security.jwks.resolve()),
        client_ca=str(security.client_ca.resolve()) if security.client_ca else None,
        longest_token=LONGEST.total_seconds(),
        roles=roles,
        lua=Markup(lua(settings.limits.request_bytes)),
    )


def lua(request_bytes: int) -> str:
    """Return the Lua text for requests up to this size, what it must know of the contract before it."""
    wire = {"STRING": "BYTES"}
    inputs = {tensor.name: wire.get(tensor.dtype, tensor.dtype) for tensor in MODELS[BURSTABLE[0]].inputs}
    return "\n".join(
        (
            f"local BURSTABLE = {_set(BURSTABLE)}",
            f"local INPUTS = {_table(inputs)}",
            f"local FILTERS = {_set(Filters.model_fields)}",
            f"local HEADERS = {_set(HEADERS)}",
            f"local CLAIMS = {_table(CLAIMS)}",
            f"local LARGEST = {request_bytes}",
            *((HERE / f"{name}.lua").read_text(encoding="utf-8") for name in ("message", "residency")),
        )
    )


def _value(value: Any) -> Markup:
    """Return a value as YAML in one line, text in quotes; what a macro made is that already."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, int | float):
        return Markup(json.dumps(value))
    return Markup(yaml.safe_dump(value, default_style='"', default_flow_style=True, width=math.inf).strip())


def _set(names: Iterable[str]) -> str:
    return "{ " + ", ".join(f'["{name}"] = true' for name in names) + " }"


def _table(values: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f'["{name}"] = "{value}"' for name, value in values.items()) + " }"
