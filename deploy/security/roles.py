"""Who may call what: the one table, read by the gateway and by whoever gives out tokens.

What stands in no row is refused to everybody. So are loading and unloading models, shared memory, traces and log
settings: nobody has them from outside, whatever the token says.
"""

from collections.abc import Mapping
from typing import Literal, get_args

Role = Literal["search", "recommend", "events", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

MODELS: Mapping[Role, tuple[str, ...]] = {
    "search": ("search", "search_deep", "search_personal"),
    "recommend": ("recommend",),
    "events": ("events",),
    "admin": ("privacy",),
}
"""Models that a role may ask."""

SERVICE = "/inference.GRPCInferenceService/"
INFER = f"{SERVICE}ModelInfer"
"""The method that is also judged by its model."""
PUBLIC_METHODS = tuple(
    f"{SERVICE}{name}" for name in ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata")
)
"""Methods for every valid token."""
ADMIN_METHODS = tuple(f"{SERVICE}{name}" for name in ("ModelStatistics", "ModelConfig", "RepositoryIndex"))
"""Methods for `admin` alone: what the server measures and holds."""
