"""The WAN between gateway and public site: network namespaces where we are root, else a relay."""

import hashlib
import os
import subprocess
import sys

from deploy.daemon import Daemon
from deploy.hybrid.line import LAID
from deploy.hybrid.topology import Topology
from shelfbridge.errors import SettingsError, ShelfbridgeError


class Wan(Daemon):
    """One of the two: a process that delays what it carries."""

    words: str
    """What it is, for reports."""
    inside: list[str]
    """What a command of the public site begins with."""
    site_host: str
    """Where the public site listens."""
    address: tuple[str, int]
    """Where the gateway reaches the public site's gRPC."""

    def __init__(self, topology: Topology, kind: str, *arguments: str) -> None:
        wan = topology.wan
        command = [sys.executable, "-m", f"deploy.hybrid.{kind}", *arguments, wan.model_dump_json()]
        super().__init__(topology.run_dir / "wan", kind, command, says=LAID)
        self.topology = topology
        self.words = f"RTT {wan.rtt_ms:g} ± {wan.jitter_ms:g} ms, {wan.mbit_per_s:g} Mbit/s, {wan.loss:.1%} lost"


def wan_of(topology: Topology) -> Wan:
    """The one that the topology names, else the best that this user may have."""
    kind = topology.wan.kind or ("namespaces" if os.geteuid() == 0 and os.path.exists("/dev/net/tun") else "relay")
    return _Namespaces(topology) if kind == "namespaces" else _Relay(topology)


class _Relay(Wan):
    site_host = "127.0.0.1"

    def __init__(self, topology: Topology) -> None:
        self.inside = []
        self.address = ("127.0.0.1", topology.public.port + 3)
        super().__init__(topology, "relay", str(self.address[1]), str(topology.public.port))
        self.words += "; a TCP relay on loopback"

    def up(self) -> None:
        if self.topology.wan.loss:
            raise SettingsError(
                "wan.loss: a relay cannot lose packets; use network namespaces (needs root), or set it to 0"
            )
        super().up()


class _Namespaces(Wan):
    site_host = "0.0.0.0"

    def __init__(self, topology: Topology) -> None:
        own = hashlib.sha1(str(topology.run_dir.resolve()).encode()).digest()
        self._namespace, device = f"shelfbridge-{own.hex()[:8]}", f"sb{own.hex()[:8]}"
        here, there = (f"10.213.{own[0]}.{host}" for host in (1, 2))
        self.inside = ["ip", "netns", "exec", self._namespace]
        self.address = (there, topology.public.port)
        super().__init__(topology, "tun", device, self._namespace, here, there)
        self.words += "; network namespaces and a TUN pair"

    def up(self) -> None:
        if self.running:
            raise ShelfbridgeError(f"the WAN of {self.topology.run_dir} runs already; take it down first")
        self.down()  # what one that was killed left
        subprocess.run(["ip", "netns", "add", self._namespace], check=True, capture_output=True)
        try:
            super().up()
        except BaseException:
            self.down()
            raise

    def down(self) -> bool:
        was_running = super().down()
        subprocess.run(["ip", "netns", "delete", self._namespace], check=False, capture_output=True)
        return was_running
