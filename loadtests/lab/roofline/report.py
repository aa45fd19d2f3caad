"""A roofline record as people look at it: tables in Markdown and a plot."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.lab.roofline.triton import PHASES
from shelfbridge.measure.report import Table

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


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    machine, (one, every) = record["machine"], record["peaks"]
    alone, full = record["alone"], record["saturated"]
    overhead = full["overhead"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores; release of {record['products']:,} products. "
        f"Queries do not repeat. Overhead: **{alone['overhead']['p50']:.2f} ms** at concurrency 1 "
        f"(p50; p99 {alone['overhead']['p99']:.2f}), **{overhead['over_bare']:.0%}** of the arithmetic's CPU time at "
        f"{full['clients']} clients ({overhead['of_server']:.0%} of the server's).",
        "",
        str(
            Table(
                ["peak", "fp32, G multiply-adds/s", "int8, G multiply-adds/s", "memory, GB/s"],
                [_peak(peak) for peak in (one, every)],
            )
        ),
        "",
        str(
            Table(
                [
                    "step",
                    "M multiply-adds (int8)",
                    "MB touched",
                    "ms, bare p50",
                    "G multiply-adds/s",
                    "of the arithmetic's peak",
                    "of the roofline",
                ],
                [_step(name, step) for name, step in record["steps"].items()],
            )
        ),
        "",
        *_places("A search's milliseconds at concurrency 1", record["places"]["alone"]),
        *_places(f"A search's CPU milliseconds at {full['clients']} clients", record["places"]["saturated"]),
        f"{full['per_second']:.0f} searches/s, p50 {full['latency']['p50']:.1f} ms, p99 {full['latency']['p99']:.1f}; "
        "CPU ms a search: " + ", ".join(f"{part} {ms:.2f}" for part, ms in full["cpu"].items()) + ".",
        "",
        str(
            Table(
                ["Triton at that load, ms a request", "queue", "input", "infer", "output", "requests an execution"],
                [
                    [model, *(f"{row[phase]:.2f}" for phase in PHASES), f"{row['batch']:.1f}"]
                    for model, row in full["models"].items()
                ],
            )
        ),
        "",
        *_profile(record["profile"]),
    ]
    return "\n".join(lines)


def _peak(peak: dict[str, Any]) -> list[str]:
    threads = f"{peak['threads']} thread{'s' * (peak['threads'] > 1)}"
    return [threads, f"{peak['fp32']:.0f}", f"{peak['int8']:.0f}", f"{peak['memory']:.1f}"]


def _step(name: str, step: dict[str, float]) -> list[str]:
    return [
        name,
        f"{step['multiply_adds'] / 1e6:.1f} ({step['int8_share']:.0%})",
        f"{step['bytes'] / 1e6:.2f}",
        f"{step['ms']:.2f}",
        f"{step['rate']:.1f}",
        f"{step['of_peak']:.0%}",
        f"{step['of_roofline']:.0%}",
    ]


def _places(title: str, parts: dict[str, float]) -> list[str]:
    total = sum(parts.values())
    cells = [f"{name} {ms:.2f} ({ms / total:.0%})" for name, ms in parts.items()]
    return [f"{title} ({total:.2f}): {', '.join(cells)}.", ""]


def _profile(profile: dict[str, Any]) -> list[str]:
    if "skipped" in profile:
        return [f"No profile: {profile['skipped']}.", ""]
    return [
        f"Functions of the server's Python processes at {profile['clients']} clients: the CPU time of each process, "
        "shared out by py-spy's samples of the innermost function; C code counts for the function that called it.",
        "",
        str(
            Table(
                ["process", "function", "CPU ms a search"],
                [[row["part"], f"`{row['function']}`", f"{row['ms']:.3f}"] for row in profile["rows"]],
            )
        ),
        "",
    ]


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
