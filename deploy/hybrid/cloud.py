"""The life of a hybrid cloud on this machine."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

from deploy.daemon import Runs
from deploy.gateway import Endpoint, Gateway, GatewaySettings
from deploy.hybrid.beside import beside
from deploy.hybrid.sites import SiteServer
from deploy.hybrid.topology import Site, Topology
from deploy.hybrid.wan import wan_of
from shelfbridge.errors import SettingsError

CERTIFICATES = ("ca.crt", *(f"{name}.{end}" for name in ("gateway", "private", "public") for end in ("crt", "key")))


class Hybrid(Runs):
    """Two sites, the WAN, the gateway, and what runs beside them."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.wan = wan_of(topology)
        self.private = SiteServer("private", topology)
        reached_at = self.wan.address[0]
        self.public = SiteServer("public", topology, self.wan.site_host, reached_at, self.wan.inside)
        self.beside = beside(topology)
        self.gateway = Gateway(
            GatewaySettings(
                run_dir=topology.run_dir.resolve() / "gateway",
                host=topology.gateway.host,
                port=topology.gateway.port,
                private=_endpoint("private", topology.private, ("127.0.0.1", topology.private.port)),
                public=_endpoint("public", topology.public, self.wan.address),
                policies=topology.policies,
                limits=topology.limits,
                security=topology.security,
            )
        )

    def up(self) -> None:
        """Start all and return when the gateway lets callers in.

        Raises:
            SettingsError: a certificate, the JWKS or the audit's key is missing.
            ShelfbridgeError: a part did not start; those that did are taken down again.
        """
        self._check()
        starting: list[subprocess.Popen[str]] = []
        try:
            self.wan.up()
            sites = (self.private, self.public)
            starting += [site.start() for site in sites]
            for site, process in zip(sites, starting, strict=True):
                site.finish(process)
            for each in self.beside.values():
                each.up()
            self.gateway.up()
        except BaseException:
            for process in starting:  # else a site that is still on its way up would go on to start
                process.terminate()
                with process:
                    pass
            self.down()
            raise

    def down(self) -> bool:
        """End all, the gateway first. False if nothing was running.

        Raises:
            ShelfbridgeError: all is down, but the audit log lacks lines.
        """
        ended = [self.gateway.down()]
        with ThreadPoolExecutor() as both:
            ended += both.map(SiteServer.down, (self.private, self.public))
        ended.append(self.wan.down())
        return any([*ended, *[each.down() for each in self.beside.values()]])

    def status(self) -> dict[str, tuple[bool, str]]:
        """Whether each part runs, and what is to be said of it; of sites and gateway whether they are ready."""
        ready: dict[str, bool] = {site.name: site.ready() for site in (self.private, self.public)}
        ready[f"gateway {self.gateway.address}"] = self.gateway.ready()
        beside = {name: each.running for name, each in self.beside.items()}
        return {
            **{name: (found, "ready" if found else "not ready") for name, found in ready.items()},
            **{name: (found, "runs" if found else "does not run") for name, found in beside.items()},
            "WAN": (self.wan.running, self.wan.words + ("" if self.wan.running else " (down)")),
        }

    def _check(self) -> None:
        security, audit = self.topology.security, self.topology.audit
        files = [*(security.certificates / name for name in CERTIFICATES), security.jwks]
        files += [audit.key] if audit else []
        if missing := [str(file) for file in files if not file.is_file()]:
            raise SettingsError(
                f"missing: {', '.join(missing)}; make them with python -m deploy.security, or name the folder of yours"
            )


def _endpoint(name: str, site: Site, address: tuple[str, int]) -> Endpoint:
    return Endpoint(host=address[0], port=address[1], server_name=f"{name}.triton", capacity=site.capacity)
