"""The gateway before both sites: Envoy with a config made from typed settings."""

from deploy.gateway.envoy import Gateway, GatewayError
from deploy.gateway.settings import Endpoint, GatewaySettings, Limits, Policies, Security

__all__ = ["Endpoint", "Gateway", "GatewayError", "GatewaySettings", "Limits", "Policies", "Security"]
