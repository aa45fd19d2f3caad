"""What runs beside the sites: the consumer of events that wait in Redis, and the collector of the audit log."""

import os
import subprocess
import sys

from deploy.audit.__main__ import COLLECTS
from deploy.daemon import Daemon
from deploy.gateway.config import AUDIT_LOG
from deploy.hybrid.topology import Audit, Topology
from shelfbridge.errors import ShelfbridgeError
from shelfbridge.profiles import access

TAKES = "takes events from Redis"
"""What the consumer says when it is ready."""


def beside(topology: Topology) -> dict[str, Daemon]:
    """Those that the topology wants by name, in the order in which they start."""
    found: dict[str, Daemon] = {}
    profiles = topology.private.profiles
    if profiles is not None and profiles.get_secret_value().startswith("redis"):
        # in the environment: a command line would show its password to everybody
        env = {**os.environ, access.PROFILES: profiles.get_secret_value()}
        command = [sys.executable, "-m", "deploy.consumer"]
        found["consumer"] = Daemon(topology.run_dir / "private", "consumer", command, says=TAKES, env=env)
    if topology.audit is not None:
        found["audit"] = _Collector(topology, topology.audit)
    return found


class _Collector(Daemon):
    def __init__(self, topology: Topology, audit: Audit) -> None:
        flags = {
            "folder": audit.folder.resolve(),
            "key": audit.key.resolve(),
            "pseudonym-key": audit.pseudonym_key.resolve(),
            "source": topology.run_dir.resolve() / "gateway" / AUDIT_LOG,
            "private-release": topology.private.release.resolve(),
            "public-release": topology.public.release.resolve(),
        }
        command = [sys.executable, "-m", "deploy.audit", "collect", *(f"--{name}={flags[name]}" for name in flags)]
        super().__init__(topology.run_dir / "audit", "collector", command, says=COLLECTS)

    def down(self) -> bool:
        """End it, with all lines collected: also those that one which died has left."""
        begun, was_running = self.begun, super().down()
        if begun:
            rest = subprocess.run([*self.command, "--once"], cwd=self.cwd, capture_output=True, text=True, check=False)
            if rest.returncode:
                raise ShelfbridgeError(
                    f"the last lines of the gateway are not in the audit log: {rest.stderr.strip()}; then collect them "
                    f"({' '.join(self.command[1:])} --once)"
                )
        return was_running
