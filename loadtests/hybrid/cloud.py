"""The hybrid cloud under test: a topology with credentials of its own, and the gateway's three ways to use it."""

import datetime
import json
from pathlib import Path
from typing import Any, Literal, get_args

from deploy.gateway import Gateway
from deploy.hybrid import Hybrid, Topology
from deploy.security.certificates import make_certificates
from deploy.security.keys import write_new
from deploy.security.new_keys import make_keys
from deploy.security.tokens import Residency, make_jwks, make_token

Mode = Literal["private", "public", "hybrid"]
MODES: tuple[Mode, ...] = get_args(Mode)
LONGEST = datetime.timedelta(hours=12)


class Cloud:
    """Two sites and a gateway that changes its ways; as a context the sites run from entry to exit.

    Args:
        topology: its credentials are replaced.
        folder: to make, of certificates, keys and tokens for this run alone.
    """

    def __init__(self, topology: Topology, folder: Path) -> None:
        self.folder = folder
        write_new(folder, {**make_certificates(), **make_keys()})
        (folder / "jwks.json").write_text(json.dumps(make_jwks([folder / "token.key"])))
        security = topology.security.model_copy(update={"certificates": folder, "jwks": folder / "jwks.json"})
        self.topology = topology.model_copy(update={"security": security})
        self.hybrid = Hybrid(self.topology)

    def use(self, mode: Mode) -> Gateway:
        """Take the gateway up anew. `public`: all that may burst does; `private`: nothing may."""
        gateway = self.hybrid.gateway
        gateway.down()
        policies = self.topology.policies
        if mode == "public":
            policies = policies.model_copy(update={"burst_above": 0})
        self.hybrid.gateway = Gateway(gateway.settings.model_copy(update={"policies": policies}))
        self.hybrid.gateway.up()
        return self.hybrid.gateway

    def token(self, mode: Mode) -> Path:
        """File of a token for searches, shelves and events; its searches may burst where the mode lets them."""
        residency: Residency | None = None if mode == "private" else "public-ok"
        text = make_token(
            self.folder / "token.key",
            subject="load test",
            roles=("search", "recommend", "events"),
            residency=residency,
            expires=LONGEST,
        )
        file = self.folder / f"{mode}.token"
        file.write_text(text)
        file.chmod(0o600)
        return file

    def __enter__(self) -> "Cloud":
        self.hybrid.up()
        return self

    def __exit__(self, *_: Any) -> None:
        self.hybrid.down()
