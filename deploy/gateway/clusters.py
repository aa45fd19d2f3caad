"""The sites as Envoy's clusters: how they are reached, how many requests they take, when they count as ill."""

from typing import Any

from deploy.gateway.residency import METADATA
from deploy.gateway.settings import Endpoint, GatewaySettings, Policies

Config = dict[str, Any]
GATE = "./gate.sock"
"""Between the two hops. A full circuit breaker is never retried in its own hop, so it stands behind a second one."""
ANY, PRIVATE, PRIVATE_GATE, PRIVATE_HEALTH, PUBLIC = "any", "private", "private_gate", "private_health", "public"
_TYPES = "type.googleapis.com/envoy.extensions"


def typed(kind: str, **fields: Any) -> Config:
    """A config of one of Envoy's extensions."""
    return {"@type": f"{_TYPES}.{kind}", **fields}


def extension(name: str, kind: str, **fields: Any) -> Config:
    """An extension by name, with its config."""
    return {"name": name, "typed_config": typed(kind, **fields)}


def seconds(value: float) -> str:
    """A duration."""
    return f"{value:g}s"


def clusters(settings: GatewaySettings) -> list[Config]:
    """All clusters."""
    policies = settings.policies
    private = _site(settings, PRIVATE, settings.private)
    public = _site(settings, PUBLIC, settings.public)
    private_breakers = [_full_at(policies.burst_above), _full_at(settings.private.capacity, "HIGH")]
    health = {name: value for name, value in private.items() if name not in ("health_checks", "outlier_detection")}
    return [
        _gate(policies),
        {**private, "circuit_breakers": {"thresholds": private_breakers}},
        {**health, "name": PRIVATE_HEALTH},
        {**public, "circuit_breakers": {"thresholds": [_full_at(settings.public.capacity)]}},
        {
            "name": ANY,
            "connect_timeout": seconds(policies.per_try_timeout),
            "lb_policy": "CLUSTER_PROVIDED",
            "cluster_type": extension(
                "envoy.clusters.aggregate", "clusters.aggregate.v3.ClusterConfig", clusters=[PRIVATE_GATE, PUBLIC]
            ),
            "circuit_breakers": {"thresholds": [{"max_retries": policies.max_bursts}]},
        },
    ]


def _full_at(requests: int, priority: str = "DEFAULT") -> Config:
    """Those that wait for a connection count too, but apart: a site that froze lets none come about."""
    return {
        "priority": priority,
        "max_requests": requests,
        "max_pending_requests": requests,
        "max_connections": 1 << 20,
    }


def _cluster(name: str, site: str, address: Config, policies: Policies) -> Config:
    endpoint = {"endpoint": {"address": address}, "metadata": {"filter_metadata": {METADATA: {"site": site}}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": seconds(policies.per_try_timeout),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "upstreams.http.v3.HttpProtocolOptions",
                explicit_http_config={
                    "http2_protocol_options": {"connection_keepalive": {"interval": "5s", "timeout": "2s"}}
                },
            )
        },
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _gate(policies: Policies) -> Config:
    return {
        **_cluster(PRIVATE_GATE, PRIVATE, {"pipe": {"path": GATE}}, policies),
        "circuit_breakers": {"thresholds": [_full_at(1 << 20)]},
        # behind it the private site is judged as well: here one success suffices
        "health_checks": [{**_health_check(policies), "healthy_threshold": 1, "unhealthy_interval": "0.1s"}],
    }


def _site(settings: GatewaySettings, name: str, site: Endpoint) -> Config:
    policies, certificates = settings.policies, settings.security.certificates.resolve()
    own = {
        "certificate_chain": {"filename": str(certificates / "gateway.crt")},
        "private_key": {"filename": str(certificates / "gateway.key")},
    }
    trusted = {
        "trusted_ca": {"filename": str(certificates / "ca.crt")},
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": site.server_name}}],
    }
    address = {"socket_address": {"address": site.host, "port_value": site.port}}
    return {
        **_cluster(name, name, address, policies),
        "transport_socket": extension(
            "envoy.transport_sockets.tls",
            "transport_sockets.tls.v3.UpstreamTlsContext",
            sni=site.server_name,
            common_tls_context={"tls_certificates": [own], "alpn_protocols": ["h2"], "validation_context": trusted},
        ),
        "health_checks": [_health_check(policies)],
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": policies.eject_after,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_consecutive_5xx": 0,
            "interval": "0.5s",
            "base_ejection_time": seconds(policies.eject_seconds),
            "max_ejection_time": seconds(policies.eject_seconds),
            "max_ejection_percent": 100,
        },
    }


def _health_check(policies: Policies) -> Config:
    every = seconds(policies.health_interval)
    return {
        "timeout": seconds(policies.health_timeout),
        "interval": every,
        "no_traffic_interval": every,
        "unhealthy_threshold": 2,
        "healthy_threshold": 2,
        "grpc_health_check": {},
    }
