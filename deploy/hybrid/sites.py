"""The two Tritons: the embedded server with TLS, and what it counts."""

import re
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from deploy import ROOT
from deploy.embedded import EmbeddedServer, EmbeddedSettings, ServerError, State
from deploy.hybrid.topology import Topology
from shelfbridge.profiles import access
from shelfbridge.profiles.store import anchored

SiteName = Literal["private", "public"]
CLOSED = "model-repository,model-config,shared-memory,statistics,trace,logging"
"""Triton's protocols that want a header which no caller can know."""
_REQUESTS = re.compile(r'^nv_inference_request_(?:success|failure)\{.*?model="([^"]+)".*\} (\d+)', re.MULTILINE)
_COMPUTED = re.compile(
    r'^nv_inference_(?:compute_\w+_duration_us|(exec_count))\{.*?model="([^"]+)".*\} (\d+)', re.MULTILINE
)


class SiteServer:
    """One site, in this network namespace or behind a command that enters another."""

    def __init__(
        self,
        name: SiteName,
        topology: Topology,
        host: str = "127.0.0.1",
        reached_at: str = "127.0.0.1",
        inside: Sequence[str] = (),
    ) -> None:
        self.name = name
        site = topology.private if name == "private" else topology.public
        profiles = topology.private.profiles if name == "private" else None
        self._inside = [*inside, *(["taskset", "--cpu-list", ",".join(map(str, site.cores))] if site.cores else [])]
        self._metrics = f"http://{reached_at}:{site.port + 2}/metrics"
        self.settings = EmbeddedSettings(
            repository=site.release.resolve(),
            release_key=site.release_key and site.release_key.resolve(),
            run_dir=(topology.run_dir / name).resolve(),
            host=host,
            grpc_port=site.port,
            http_port=site.port + 1,
            metrics_port=site.port + 2,
            processes=site.processes,
            result_cache=site.result_cache,
            query_cache=site.query_cache,
            profiles=profiles and anchored(profiles.get_secret_value(), ROOT),
            key_file=None,
            extra=(*_tls(name, topology.security.certificates.resolve()), "--http-address=127.0.0.1"),
        )

    @property
    def state(self) -> State | None:
        """What the server was started as, if it lives."""
        return EmbeddedServer(self.settings).state

    @property
    def pid(self) -> int | None:
        """The server's process, if it lives."""
        return self.state.pid if self.state else None

    def start(self) -> "subprocess.Popen[str]":
        """Begin to start it; `finish` waits for it. Of this project's settings it gets those of the topology alone."""
        given = self.settings.environment().items()
        return subprocess.Popen(
            self._command("up", *self.settings.flags()),
            cwd=ROOT,
            env={
                name: value for name, value in given if name == access.PROFILES or not name.startswith("SHELFBRIDGE_")
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, starting: "subprocess.Popen[str]") -> None:
        """Wait until it is ready.

        Raises:
            ServerError: it did not start.
        """
        _, words = starting.communicate()
        if starting.returncode:
            raise ServerError(f"the {self.name} site did not start: {words.strip()}")

    def down(self) -> bool:
        """End it. False if it was not running."""
        return EmbeddedServer(self.settings).down()

    def ready(self) -> bool:
        """Whether its models answer."""
        status = self._command("status", f"--run-dir={self.settings.run_dir}")
        return subprocess.run(status, cwd=ROOT, capture_output=True, check=False).returncode == 0

    def requests(self) -> dict[str, int]:
        """How many requests each model has been asked, by the server's own counters, failed ones included.

        Raises:
            ServerError: it does not answer.
        """
        counted: dict[str, int] = {}
        for model, count in _REQUESTS.findall(self._counters()):
            counted[model] = counted.get(model, 0) + int(count)
        return counted

    def computed(self) -> dict[str, tuple[int, int]]:
        """How often each model was executed, and the microseconds that its processes were occupied in all.

        Raises:
            ServerError: it does not answer.
        """
        found: dict[str, tuple[int, int]] = {}
        for is_count, model, value in _COMPUTED.findall(self._counters()):
            executed, busy = found.get(model, (0, 0))
            found[model] = (executed + int(value), busy) if is_count else (executed, busy + int(value))
        return found

    def _counters(self) -> str:
        try:
            with urllib.request.urlopen(self._metrics, timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except (OSError, urllib.error.URLError) as error:
            raise ServerError(f"the {self.name} site does not show its counters ({error}); take it up first") from error

    def _command(self, *arguments: str) -> list[str]:
        return [*self._inside, sys.executable, "-m", "deploy.embedded", *arguments]


def _tls(name: SiteName, certificates: Path) -> tuple[str, ...]:
    return (
        "--grpc-use-ssl=1",
        "--grpc-use-ssl-mutual=1",
        f"--grpc-server-cert={certificates / name}.crt",
        f"--grpc-server-key={certificates / name}.key",
        f"--grpc-root-cert={certificates / 'ca.crt'}",
        f"--grpc-restricted-protocol={CLOSED}:closed={secrets.token_hex(32)}",
    )
