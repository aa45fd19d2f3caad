"""One service from two sites: a private and a public Triton, the WAN between them, and the gateway before both."""

from deploy.hybrid.cloud import Hybrid
from deploy.hybrid.topology import Topology, load

__all__ = ["Hybrid", "Topology", "load"]
