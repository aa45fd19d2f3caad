"""Envoy's whole config as text that people can read."""

import yaml

from deploy.gateway.clusters import clusters
from deploy.gateway.ingress import listeners
from deploy.gateway.settings import GatewaySettings

ADMIN = "./admin.sock"
COMMENTS = {
    "max_retries": "what caps bursts; a retry budget had no effect here",
    "healthy_panic_threshold": "else Envoy sends to dead sites when all are dead",
    "no_traffic_interval": "60 s by default: far too late for a failback",
    "per_try_timeout": "a frozen site costs this once: worst case 0.51 s at 0.4 s",
    "retry_priority": "0 % public at or below the threshold, 32 / 49 / 66 % at 1.5 / 2 / 3 times it",
    "split_external_local_origin_errors": "a site that answers lives: else a caller's malformed requests eject it",
    "max_ejection_time": "else each ejection is longer than the one before",
}


class _Plain(yaml.SafeDumper):
    """Long texts as blocks, no references to what stood before."""

    def ignore_aliases(self, data: object) -> bool:
        """Write everything where it belongs."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _text)


def config(settings: GatewaySettings) -> str:
    """The config as YAML. Its relative paths are those of the run folder."""
    content = {
        "admin": {"address": {"pipe": {"path": ADMIN, "mode": 0o600}}},
        "static_resources": {"listeners": listeners(settings), "clusters": clusters(settings)},
    }
    lines = yaml.dump(content, Dumper=_Plain, sort_keys=False, width=120).splitlines()
    return "\n".join(map(_commented, lines)) + "\n"


def _commented(line: str) -> str:
    comment = COMMENTS.get(line.lstrip(" -").partition(":")[0])
    return f"{line} # {comment}" if comment else line
