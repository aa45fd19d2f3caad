"""Triton without containers: the real server from a wheel, for a first look and for tests."""

from deploy.embedded.server import EmbeddedServer, ServerError, State, Status
from deploy.embedded.settings import EmbeddedSettings

__all__ = ["EmbeddedServer", "EmbeddedSettings", "ServerError", "State", "Status"]
