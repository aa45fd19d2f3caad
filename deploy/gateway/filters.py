"""What a request passes before it is routed: token, rate, size, content, role."""

from deploy.gateway.access import rbac
from deploy.gateway.clusters import Config, extension, seconds, typed
from deploy.gateway.residency import METADATA, source
from deploy.gateway.settings import GatewaySettings, Limits, Security
from deploy.security.tokens import LONGEST

TOKEN = "envoy.filters.http.jwt_authn"
"""Namespace of Envoy's dynamic metadata that holds the token's claims, under `jwt_payload`."""

TOKENS = 1000
"""Good tokens whose signatures are not checked again; that one has not expired meanwhile always is."""


def filters(settings: GatewaySettings) -> list[Config]:
    """The filters of the ingress, in order."""
    limits = settings.limits
    return [
        token_check(settings.security),
        _rate(limits),
        extension("envoy.filters.http.buffer", "filters.http.buffer.v3.Buffer", max_request_bytes=limits.request_bytes),
        extension(
            "envoy.filters.http.lua",
            "filters.http.lua.v3.Lua",
            default_source_code={"inline_string": source(limits.request_bytes)},
        ),
        extension("envoy.filters.http.rbac", "filters.http.rbac.v3.RBAC", rules=rbac(TOKEN, METADATA)),
        router(),
    ]


def router() -> Config:
    """The filter that sends a request on."""
    return extension("envoy.filters.http.router", "filters.http.router.v3.Router", suppress_envoy_headers=True)


def token_check(security: Security) -> Config:
    """The filter that lets in good tokens only."""
    provider = {
        "issuer": security.issuer,
        "audiences": list(security.audiences),
        "local_jwks": {"filename": str(security.jwks.resolve())},
        "require_expiration": True,
        "max_lifetime": seconds(LONGEST.total_seconds()),
        "forward": False,
        "payload_in_metadata": "jwt_payload",
        "jwt_cache_config": {"jwt_cache_size": TOKENS},
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
    }
    return extension(
        TOKEN,
        "filters.http.jwt_authn.v3.JwtAuthentication",
        providers={"token": provider},
        rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "token"}}],
    )


def _rate(limits: Limits) -> Config:
    bucket = {
        "max_tokens": limits.requests_per_second,
        "tokens_per_fill": limits.requests_per_second,
        "fill_interval": "1s",
    }
    all_subjects = {"max_tokens": 1 << 30, "tokens_per_fill": 1 << 30, "fill_interval": "1s"}
    always = {"default_value": {"numerator": 100}}
    subject = {
        "descriptor_key": "subject",
        "metadata_key": {"key": TOKEN, "path": [{"key": "jwt_payload"}, {"key": "sub"}]},
    }
    return {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": typed(
            "filters.http.local_ratelimit.v3.LocalRateLimit",
            stat_prefix="subjects",
            token_bucket=all_subjects,
            filter_enabled=always,
            filter_enforced=always,
            rate_limited_as_resource_exhausted=True,
            max_dynamic_descriptors=10000,
            descriptors=[{"entries": [{"key": "subject"}], "token_bucket": bucket}],
            rate_limits=[{"actions": [{"metadata": subject}]}],
        ),
    }
