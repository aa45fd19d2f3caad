"""A roofline record as people look at it: tables in Markdown and a plot."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.lab.roofline.served import PHASES
from shelfbridge.measure.report import Cell, Table, markdown

COLOURS = {
    "encoder": "#4c78a8",
    "index": "#72b7b2",
    "ranker": "#54a24b",
    "preprocess": "#eeca3b",
    "postprocess": "#ff9da6",
    "Python around the steps": "#b279a2",
    "hops and queues": "#f58518",
    "tritonserver": "#f58518",
    "gRPC and client": "#bab0ac",
    "client": "#bab0ac",
}

PEAKS: Mapping[str, Cell] = {
    "peak": lambda peak: f"{peak['threads']} thread{'s' * (peak['threads'] > 1)}",
    "fp32, G multiply-adds/s": "{fp32:.0f}",
    "int8, G multiply-adds/s": "{int8:.0f}",
    "memory, GB/s": "{memory:.1f}",
}
STEPS: Mapping[str, Cell] = {
    "step": "{name}",
    "M multiply-adds (int8)": "{M:.1f} ({int8_share:.0%})",
    "MB touched": "{MB:.2f}",
    "ms, bare p50": "{ms:.2f}",
    "G multiply-adds/s": "{rate:.1f}",
    "of the arithmetic's peak": "{of_peak:.0%}",
    "of the roofline": "{of_roofline:.0%}",
}
MODELS: Mapping[str, Cell] = {
    "Triton at that load, ms a request": "{name}",
    **{phase.removeprefix("compute_"): f"{{{phase}:.2f}}" for phase in PHASES},
    "requests an execution": "{batch:.1f}",
}
FUNCTIONS: Mapping[str, Cell] = {"process": "{part}", "function": "`{function}`", "CPU ms a search": "{ms:.3f}"}


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    machine, alone, full = record["machine"], record["alone"], record["saturated"]
    overhead, places, profile = full["overhead"], record["places"], record["profile"]
    about = (
        f"{machine['processor']}, {machine['cores']} cores; release of {record['products']:,} products. "
        f"Queries do not repeat. Overhead: **{alone['overhead']['p50']:.2f} ms** at concurrency 1 "
        f"(p50; p99 {alone['overhead']['p99']:.2f}), **{overhead['over_bare']:.0%}** of the arithmetic's CPU time at "
        f"{full['clients']} clients ({overhead['of_server']:.0%} of the server's)."
    )
    steps = [
        {"name": name, **step, "M": step["multiply_adds"] / 1e6, "MB": step["bytes"] / 1e6}
        for name, step in record["steps"].items()
    ]
    saturated = (
        f"{full['per_second']:.0f} searches/s, p50 {full['latency']['p50']:.1f} ms, p99 {full['latency']['p99']:.1f}; "
        "CPU ms a search: " + ", ".join(f"{part} {ms:.2f}" for part, ms in full["cpu"].items()) + "."
    )
    models = [{"name": model, **row} for model, row in full["models"].items()]
    functions: list[str | Table] = [
        f"Functions of the server's Python processes at {profile.get('clients')} clients: the CPU time of each "
        "process, shared out by py-spy's samples of the innermost function; C code counts for the function that called "
        "it.",
        Table.of(FUNCTIONS, profile.get("rows", ())),
    ]
    return markdown(
        [
            about,
            Table.of(PEAKS, record["peaks"]),
            Table.of(STEPS, steps),
            _places("A search's milliseconds at concurrency 1", places["alone"]),
            _places(f"A search's CPU milliseconds at {full['clients']} clients", places["saturated"]),
            saturated,
            Table.of(MODELS, models),
            *([f"No profile: {profile['skipped']}."] if "skipped" in profile else functions),
        ]
    )


def _places(title: str, parts: dict[str, float]) -> str:
    total = sum(parts.values())
    cells = [f"{name} {ms:.2f} ({ms / total:.0%})" for name, ms in parts.items()]
    return f"{title} ({total:.2f}): {', '.join(cells)}."


def draw(figure: Figure, record: dict[str, Any]) -> None:
    """Left: where a search's milliseconds go. Right: the roofline and where each step is under it."""
    (bars, roof) = figure.subplots(1, 2, width_ratios=(3, 2))
    _bars(bars, record)
    _roof(roof, record)


def _bars(axes: Axes, record: dict[str, Any]) -> None:
    named = set()
    titles = {"alone": "1 client, ms", "saturated": f"{record['saturated']['clients']} clients, CPU ms"}
    for row, kind in enumerate(titles):
        left = 0.0
        for name, ms in record["places"][kind].items():
            axes.barh([row], [ms], left=left, color=COLOURS[name], label=None if name in named else name)
            if ms > 0.04 * sum(record["places"][kind].values()):
                axes.text(left + ms / 2, row, f"{ms:.2f}", ha="center", va="center", fontsize=8)
            left += ms
            named.add(name)
    axes.set_yticks(range(len(titles)), list(titles.values()))
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds of a search")
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=8)


def _roof(axes: Axes, record: dict[str, Any]) -> None:
    peak = record["peaks"][0]
    intensities = [2 ** (power / 4) for power in range(-16, 33)]
    for kind, style in (("fp32", "-"), ("int8", "--")):
        roof = [min(peak[kind], peak["memory"] * intensity) for intensity in intensities]
        axes.plot(intensities, roof, style, color="#555555", label=f"{kind}, one thread")
    for name, step in record["steps"].items():
        axes.plot(step["multiply_adds"] / step["bytes"], step["rate"], "o", color=COLOURS[name], label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("multiply-adds per byte")
    axes.set_ylabel("G multiply-adds per second")
    axes.legend(frameon=False, fontsize=8)
