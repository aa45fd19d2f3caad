"""Calls bent: methods, headers, deadlines, tokens."""

import random

from loadtests.fuzz.attack import BOTH, Attack
from loadtests.fuzz.tokens import WORTHLESS
from loadtests.fuzz.truth import CALLED, true_request
from shelfbridge.contract import MODELS

SERVICE = "/inference.GRPCInferenceService/"
CLOSED = (
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "RepositoryIndex",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "TraceSetting",
    "LogSettings",
    "ModelConfig",
    "ModelStatistics",
    "NoSuchMethod",
)
OTHER_PATHS = (
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/inference.GRPCInferenceService/ModelInfer/",
    "/inference.GRPCInferenceService//ModelInfer",
    "/inference.grpcinferenceservice/modelinfer",
    "/inference.GRPCInferenceService/%4dodelInfer",
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
    "/v2/models/search/infer",
    "/" + "x" * 5000,
)
STEPS = tuple(name for name in MODELS if name not in CALLED)


def several(chance: random.Random) -> Attack:
    """Several messages in a call that takes one: the gateway refuses them, Triton itself answers the first."""
    return Attack("several messages", true_request("search", chance).SerializeToString(), ("gateway",), form="messages")


def method(chance: random.Random) -> Attack:
    """Methods that nobody may call from outside."""
    return Attack("a closed method", b"", refused=BOTH, path=SERVICE + chance.choice(CLOSED))


def path(chance: random.Random) -> Attack:
    """A search under a name that is almost its own, or of another service."""
    message = true_request("search", chance).SerializeToString()
    given = chance.choice(OTHER_PATHS)
    # the gateway spells out what is escaped before it judges
    return Attack("another path", message, refused=("direct",) if "%" in given else BOTH, path=given)


def step(chance: random.Random) -> Attack:
    """A step of an ensemble, which only the server itself asks."""
    return Attack("a step", true_request(chance.choice(STEPS), chance).SerializeToString(), ("gateway",))


def metadata(chance: random.Random) -> Attack:
    """Headers that are too many, too long or not theirs to send."""
    pairs = chance.choice(
        (
            (("x-shelfbridge-site", "public"), ("x-envoy-upstream-rq-timeout-ms", "1")),
            tuple((f"x-{n}", "y" * 50) for n in range(60)),
            (("x-long", "z" * 7000),),
            (("x-forwarded-for", "127.0.0.1"), ("x-envoy-original-path", "/admin")),
            (("x-request-id", "\t".join(["id"] * 50)),),
        )
    )
    return Attack("headers", true_request("search", chance).SerializeToString(), metadata=pairs)


def deadline(chance: random.Random) -> Attack:
    """A caller that waits for a moment only, or goes away."""
    message = true_request(chance.choice(CALLED), chance).SerializeToString()
    if chance.random() < 0.5:
        return Attack("a caller that goes", message, form="cancelled", timeout=chance.uniform(0.0005, 0.01))
    header = chance.choice(((), (("grpc-timeout", "1n"),)))
    return Attack("no time", message, metadata=header, timeout=chance.uniform(0.0001, 0.005))


def token(chance: random.Random) -> Attack:
    """Tokens that open nothing."""
    message = true_request("search", chance).SerializeToString()
    kind = chance.choice(WORTHLESS)
    return Attack("a token that opens nothing", message, refused=BOTH, token=kind)


def role(chance: random.Random) -> Attack:
    """A token of another role."""
    model = chance.choice(("recommend", "events", "privacy"))
    message = true_request(model, chance).SerializeToString()
    return Attack("a token of another role", message, refused=BOTH, token="search alone")
