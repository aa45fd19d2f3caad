"""The two hops as Envoy's listeners: the ingress, where a request is judged and routed, and the gate before the
private site, where anonymous searches beyond the threshold are turned away so that the ingress tries elsewhere."""

from typing import Any

from deploy.gateway.clusters import (
    ANY,
    GATE,
    PRIVATE,
    PRIVATE_HEALTH,
    Config,
    extension,
    seconds,
    typed,
)
from deploy.gateway.filters import TOKEN, filters, router
from deploy.gateway.residency import METADATA
from deploy.gateway.settings import GatewaySettings

HEALTH = "/grpc.health.v1.Health/"
AUDIT_LOG = "./audit.jsonl"
"""The gateway's own lines, one a request; `deploy.audit` collects them."""
FULL = "both sites are full: overloaded; try later"
GATE_FULL = "the private site is full: overflow; try later"
ALONE = "the private site is unavailable and this request must not leave it; try later"
DENIED = "the token's roles do not allow this; get one with the role of this model"


def listeners(settings: GatewaySettings) -> list[Config]:
    """Both."""
    return [_ingress(settings), _gate(settings)]


def _ingress(settings: GatewaySettings) -> Config:
    limits, burstable = settings.limits, {"dynamic_metadata": [_decision("burstable")]}
    manager = _manager(
        "ingress",
        [
            _route("burstable", ANY, settings, match=burstable, retry_policy=_retries(settings)),
            _route("private", PRIVATE, settings, priority="HIGH", retry_policy=_once(settings)),
        ],
        filters(settings),
        http2_protocol_options={
            "max_concurrent_streams": limits.streams,
            "initial_stream_window_size": 1 << 20,
            "initial_connection_window_size": 4 << 20,
        },
        access_log=[_audit()],
        local_reply_config={"mappers": _replies()},
        use_remote_address=True,
        preserve_external_request_id=True,
        normalize_path=True,
        request_headers_timeout="5s",
    )
    connections = extension(
        "envoy.filters.network.connection_limit",
        "filters.network.connection_limit.v3.ConnectionLimit",
        stat_prefix="ingress",
        max_connections=limits.connections,
    )
    chain = {"filters": [connections, manager], "transport_socket": _tls(settings)}
    address = {"socket_address": {"address": settings.host, "port_value": settings.port}}
    return {"name": "ingress", "address": address, "filter_chains": [chain]}


def _gate(settings: GatewaySettings) -> Config:
    # The rest of the time is for connecting to the other site, which the ingress asks then
    timeout = seconds(0.8 * settings.policies.per_try_timeout)
    own = {"timeout": timeout, "max_stream_duration": {"grpc_timeout_header_max": timeout}}
    manager = _manager(
        "gate",
        [
            {"match": {"prefix": HEALTH}, "route": {"cluster": PRIVATE_HEALTH, **own}},
            {"match": {"prefix": "/"}, "route": {"cluster": PRIVATE, **own}},
        ],
        [router()],
        local_reply_config={"mappers": [_reply({"response_flag_filter": {"flags": ["UO"]}}, GATE_FULL)]},
    )
    address = {"pipe": {"path": GATE, "mode": 0o600}}
    return {"name": "gate", "address": address, "filter_chains": [{"filters": [manager]}]}


def _manager(name: str, routes: list[Config], http_filters: list[Config], **others: Any) -> Config:
    return extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        codec_type="HTTP2",
        stream_idle_timeout="30s",
        route_config={"name": name, "virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}]},
        http_filters=http_filters,
        **others,
    )


def _decision(kind: str) -> Config:
    return {"filter": METADATA, "path": [{"key": "decision"}], "value": {"string_match": {"exact": kind}}}


def _route(name: str, cluster: str, settings: GatewaySettings, match: Config | None = None, **action: Any) -> Config:
    deadline = seconds(settings.policies.deadline)
    return {
        "name": name,
        "match": {"prefix": "/", **(match or {})},
        "route": {
            "cluster": cluster,
            "timeout": deadline,
            "max_stream_duration": {"grpc_timeout_header_max": deadline},
            "host_rewrite_literal": "shelfbridge",
            **action,
        },
    }


def _retries(settings: GatewaySettings) -> Config:
    return {
        "retry_on": "unavailable,cancelled,deadline-exceeded,reset,connect-failure,refused-stream,"
        "retriable-status-codes",
        "retriable_status_codes": [503, 504],
        "num_retries": 3,
        "retry_priority": extension(
            "envoy.retry_priorities.previous_priorities",
            "retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            update_frequency=1,
        ),
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        "per_try_timeout": seconds(settings.policies.per_try_timeout),
    }


def _once(settings: GatewaySettings) -> Config:
    """One try, no retry: a call's own deadline, if it has one, takes the place of the route's timeout."""
    return {"num_retries": 0, "per_try_timeout": seconds(settings.policies.private_timeout)}


def _replies() -> list[Config]:
    restricted = {"metadata_filter": {"matcher": _decision("private"), "match_if_key_not_found": True}}
    unreached = {"response_flag_filter": {"flags": ["UH", "UF", "UO", "UC", "UT"]}}
    denied = {"op": "EQ", "value": {"default_value": 403, "runtime_key": "none"}}
    return [
        _reply({"and_filter": {"filters": [unreached, restricted]}}, ALONE),
        _reply({"response_flag_filter": {"flags": ["UO", "UH"]}}, FULL),
        _reply({"status_code_filter": {"comparison": denied}}, DENIED),
    ]


def _reply(matching: Config, text: str) -> Config:
    return {"filter": matching, "body": {"inline_string": text}}


def _tls(settings: GatewaySettings) -> Config:
    folder, client_ca = settings.security.certificates.resolve(), settings.security.client_ca
    common: Config = {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(folder / "gateway.crt")},
                "private_key": {"filename": str(folder / "gateway.key")},
            }
        ],
    }
    if client_ca:
        common["validation_context"] = {"trusted_ca": {"filename": str(client_ca.resolve())}}
    return extension(
        "envoy.transport_sockets.tls",
        "transport_sockets.tls.v3.DownstreamTlsContext",
        require_client_certificate=client_ca is not None,
        common_tls_context=common,
    )


def _audit() -> Config:
    judged = f"%DYNAMIC_METADATA({METADATA}:"
    fields = {
        "time": "%START_TIME%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "subject": f"%DYNAMIC_METADATA({TOKEN}:jwt_payload:sub)%",
        "method": "%REQ(:PATH)%",
        "model": f"{judged}model)%",
        "version": f"{judged}version)%",
        "site": f"%UPSTREAM_METADATA({METADATA}:site)%",
        "decision": f"{judged}decision)%",
        "reason": f"{judged}reason)%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "status": "%GRPC_STATUS%",
        "http_status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "latency_ms": "%DURATION%",
        "took_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
        "upstream_us": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:us)%",
        "bytes": "%BYTES_SENT%",
    }
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": typed(
            "access_loggers.file.v3.FileAccessLog", path=AUDIT_LOG, log_format={"json_format": fields}
        ),
    }
