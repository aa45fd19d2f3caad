"""Write the README's results from the JSON files in docs/results: no figure there is typed by hand.

python -m build.readme          a test holds the README against what this would write
"""

import json
from pathlib import Path
from typing import Any

from build.frontier.report import summary
from build.report import table

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"


def blocks() -> dict[str, str]:
    """The README's generated parts by name."""
    return {
        "esci_us": table(_read("esci_us/evaluation.json")),
        "sample": table(_read("sample/evaluation.json")),
        "frontier_esci_us": summary(_read("esci_us/frontier/frontier.json")),
        "frontier_sample": summary(_read("sample/frontier/frontier.json")),
        "bench": _tables("bench/bench.md", 2),
        "latency": latency(_read("roofline/roofline.json")["alone"]),
    }


def latency(record: dict[str, Any]) -> str:
    """Latency at concurrency 1 as a Markdown table."""
    arithmetic = [(f"{name}, bare", figures) for name, figures in record["arithmetic"].items()]
    rows = [("search, served", record["served"]), *arithmetic, ("overhead", record["overhead"])]
    lines = ["| ms, concurrency 1 | p50 | p95 | p99 |", "|---|---|---|---|"]
    lines += [f"| {name} | {f['p50']:.2f} | {f['p95']:.2f} | {f['p99']:.2f} |" for name, f in rows]
    return "\n".join(lines) + "\n"


def filled(text: str) -> str:
    """The README's text with every generated part written anew."""
    for name, block in blocks().items():
        begin, end = f"<!-- {name}: written by python -m build.readme -->\n", f"<!-- end of {name} -->"
        head, rest = text.split(begin)
        _, tail = rest.split(end)
        text = f"{head}{begin}{block}{end}{tail}"
    return text


def _tables(name: str, count: int) -> str:
    """What a report says first, with so many of its tables."""
    parts, found = [], 0
    for part in (RESULTS / name).read_text().strip().split("\n\n"):
        if part.startswith("|") and (found := found + 1) > count:
            break
        parts.append(part)
    return "\n\n".join(parts) + "\n"


def _read(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((RESULTS / name).read_text())
    return record


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text()))
