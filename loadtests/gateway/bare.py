"""An Envoy that only passes calls on: what TLS and HTTP/2 on both sides cost, whatever a gateway decides."""

from typing import Any

import yaml

from deploy.gateway import Gateway
from deploy.gateway.config import config

ROUTER = "envoy.filters.http.router"
TIMEOUT = "10s"


class Bare(Gateway):
    """A gateway without judgment: every call goes to the private site, in one hop."""

    def config(self) -> str:
        """The gateway's own, with nothing left but TLS, its routing and the private site."""
        content = yaml.safe_load(config(self.settings))
        resources = content["static_resources"]
        resources["listeners"] = [_passing_on(resources["listeners"][0])]
        private = next(each for each in resources["clusters"] if each["name"] == "private")
        del private["circuit_breakers"]
        resources["clusters"] = [private]
        return yaml.safe_dump(content)


def _passing_on(ingress: dict[str, Any]) -> dict[str, Any]:
    chain = ingress["filter_chains"][0]
    manager = chain["filters"][-1]
    typed = manager["typed_config"]
    route = {"match": {"prefix": "/"}, "route": {"cluster": "private", "timeout": TIMEOUT}}
    virtual_host = {"name": "all", "domains": ["*"], "routes": [route]}
    manager["typed_config"] = {
        **{name: typed[name] for name in ("@type", "stat_prefix", "codec_type", "http2_protocol_options")},
        "route_config": {"virtual_hosts": [virtual_host]},
        "http_filters": [each for each in typed["http_filters"] if each["name"] == ROUTER],
    }
    return {**ingress, "filter_chains": [{**chain, "filters": [manager]}]}
