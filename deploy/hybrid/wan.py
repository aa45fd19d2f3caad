"""The WAN between gateway and public site: network namespaces where we are root, else a relay."""

import hashlib
import os
import socket
import subprocess
import sys
from typing import Protocol

from deploy.daemon import Daemon
from deploy.embedded.settings import ROOT
from deploy.hybrid.topology import Topology
from deploy.hybrid.tun import LAID
from shelfbridge.errors import SettingsError, ShelfbridgeError


class Wan(Protocol):
    """One of the two."""

    words: str
    """What it is, for reports."""
    inside: list[str]
    """What a command of the public site begins with."""
    site_host: str
    """Where the public site listens."""
    address: tuple[str, int]
    """Where the gateway reaches the public site's gRPC."""

    def up(self) -> None:
        """Lay it."""

    def down(self) -> bool:
        """Take it away. False if there was none."""

    @property
    def running(self) -> bool:
        """Whether it is there."""


def wan_of(topology: Topology) -> Wan:
    """The one that the topology names, else the best that this user may have."""
    kind = topology.wan.kind or ("namespaces" if os.geteuid() == 0 and os.path.exists("/dev/net/tun") else "relay")
    return _Namespaces(topology) if kind == "namespaces" else _Relay(topology)


class _Relay:
    site_host = "127.0.0.1"

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._daemon = Daemon(topology.run_dir / "wan", "relay")
        self.inside: list[str] = []
        self.address = ("127.0.0.1", topology.public.port + 3)
        self.words = f"{_figures(topology)}; a TCP relay on loopback"

    @property
    def running(self) -> bool:
        return self._daemon.pid is not None

    def up(self) -> None:
        wan = self._topology.wan
        if wan.loss:
            raise SettingsError(
                "wan.loss: a relay cannot lose packets; use network namespaces (needs root), or set it to 0"
            )
        port = str(self.address[1])
        command = _program("relay", port, str(self._topology.public.port), wan.model_dump_json())
        self._daemon.up(command, lambda: _listens(self.address), cwd=ROOT)

    def down(self) -> bool:
        return self._daemon.down()


class _Namespaces:
    site_host = "0.0.0.0"

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        own = hashlib.sha1(str(topology.run_dir.resolve()).encode()).digest()
        self._namespace, self._device = f"shelfbridge-{own.hex()[:8]}", f"sb{own.hex()[:8]}"
        self._here, there = (f"10.213.{own[0]}.{host}" for host in (1, 2))
        self._daemon = Daemon(topology.run_dir / "wan", "tun")
        self.inside = ["ip", "netns", "exec", self._namespace]
        self.address = (there, topology.public.port)
        self.words = f"{_figures(topology)}; network namespaces and a TUN pair"

    @property
    def running(self) -> bool:
        return self._daemon.pid is not None

    def up(self) -> None:
        if self.running:
            raise ShelfbridgeError(f"the WAN of {self._topology.run_dir} runs already; take it down first")
        self.down()  # what one that was killed left
        subprocess.run(["ip", "netns", "add", self._namespace], check=True, capture_output=True)
        wan = self._topology.wan.model_dump_json()
        try:
            command = _program("tun", self._device, self._namespace, self._here, self.address[0], wan)
            self._daemon.up(command, lambda: LAID in self._daemon.log_file.read_text(), cwd=ROOT)
        except BaseException:
            self.down()
            raise

    def down(self) -> bool:
        was_running = self._daemon.down()
        subprocess.run(["ip", "netns", "delete", self._namespace], check=False, capture_output=True)
        return was_running


def _figures(topology: Topology) -> str:
    wan = topology.wan
    return f"RTT {wan.rtt_ms:g} ± {wan.jitter_ms:g} ms, {wan.mbit_per_s:g} Mbit/s, {wan.loss:.1%} lost"


def _program(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"deploy.hybrid.{name}", *arguments]


def _listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True
