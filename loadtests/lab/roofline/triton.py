"""What Triton says of its own time: per model the wait in its queue, and taking in, running and giving out."""

from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import InferenceServerClient

PHASES = ("queue", "compute_input", "compute_infer", "compute_output")
"""Per request, in this order. For a Python model compute_infer holds the copies to and from its process."""


@dataclass(frozen=True)
class Totals:
    """Of a model since its start: requests, executions (a batch is one), and nanoseconds by phase and of "success"."""

    requests: int
    executions: int
    ns: dict[str, int]


def totals(address: str) -> dict[str, Totals]:
    """The figures of all models that the server has."""
    with InferenceServerClient(address) as client:
        answer: Any = client.get_inference_statistics()
    return {
        model.name: Totals(
            model.inference_stats.success.count,
            model.execution_count,
            {name: getattr(model.inference_stats, name).ns for name in ("success", *PHASES)},
        )
        for model in answer.model_stats
    }


def between(before: dict[str, Totals], after: dict[str, Totals]) -> dict[str, dict[str, float]]:
    """Milliseconds per request by phase and in all, and requests per execution, of the models that were used."""
    rows = {}
    for model, now in after.items():
        then = before.get(model, Totals(0, 0, {}))
        requests, executions = now.requests - then.requests, now.executions - then.executions
        if requests > 0:
            ms = {name: (ns - then.ns.get(name, 0)) / requests / 1e6 for name, ns in now.ns.items()}
            rows[model] = {"requests": requests, "batch": requests / max(executions, 1), **ms}
    return rows
