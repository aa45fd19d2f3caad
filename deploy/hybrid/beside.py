"""What runs beside the sites: the consumer of events that wait in Redis, and the collector of the audit log."""

import os
import subprocess
import sys
from typing import Protocol

from deploy.audit.__main__ import COLLECTS
from deploy.daemon import Daemon
from deploy.embedded.settings import ROOT
from deploy.gateway.config import AUDIT_LOG
from deploy.hybrid.topology import Topology
from shelfbridge.errors import ShelfbridgeError
from shelfbridge.profiles import access

TAKES = "takes events from Redis"
"""What the consumer says when it is ready."""


class Beside(Protocol):
    """One of the two."""

    name: str

    def up(self) -> None:
        """Start it."""

    def down(self) -> bool:
        """End it. False if it was not running."""

    @property
    def running(self) -> bool:
        """Whether it lives."""


def beside(topology: Topology) -> list[Beside]:
    """Those that the topology wants, in the order in which they start."""
    profiles = topology.private.profiles
    in_redis = profiles is not None and profiles.get_secret_value().startswith("redis")
    return [*([_Consumer(topology)] if in_redis else []), *([_Collector(topology)] if topology.audit else [])]


class _Consumer:
    name = "consumer"

    def __init__(self, topology: Topology) -> None:
        self._profiles = topology.private.profiles
        self._daemon = Daemon(topology.run_dir / "private", self.name)

    @property
    def running(self) -> bool:
        return self._daemon.pid is not None

    def up(self) -> None:
        assert self._profiles is not None
        # in the environment: a command line would show its password to everybody
        env = {**os.environ, access.PROFILES: self._profiles.get_secret_value()}
        self._daemon.up([sys.executable, "-m", "deploy.consumer"], self._takes, cwd=ROOT, env=env)

    def down(self) -> bool:
        return self._daemon.down()

    def _takes(self) -> bool:
        return TAKES in self._daemon.words()


class _Collector:
    name = "audit"

    def __init__(self, topology: Topology) -> None:
        assert topology.audit is not None
        audit, source = topology.audit, topology.run_dir.resolve() / "gateway" / AUDIT_LOG
        flags = {
            "folder": audit.folder.resolve(),
            "key": audit.key.resolve(),
            "pseudonym-key": audit.pseudonym_key.resolve(),
            "source": source,
            "private-release": topology.private.release.resolve(),
            "public-release": topology.public.release.resolve(),
        }
        self._command = [sys.executable, "-m", "deploy.audit", "collect"]
        self._command += [f"--{name}={value}" for name, value in flags.items()]
        self._daemon = Daemon(topology.run_dir / "audit", "collector")

    @property
    def running(self) -> bool:
        return self._daemon.pid is not None

    def up(self) -> None:
        self._daemon.up(self._command, self._collects, cwd=ROOT)

    def down(self) -> bool:
        """End it, with all lines collected: also those that one which died has left."""
        begun, was_running = self._daemon.begun, self._daemon.down()
        if begun:
            rest = subprocess.run([*self._command, "--once"], cwd=ROOT, capture_output=True, text=True, check=False)
            if rest.returncode:
                raise ShelfbridgeError(
                    f"the last lines of the gateway are not in the audit log: {rest.stderr.strip()}; then collect them "
                    f"({' '.join(self._command[1:])} --once)"
                )
        return was_running

    def _collects(self) -> bool:
        return COLLECTS in self._daemon.words()
