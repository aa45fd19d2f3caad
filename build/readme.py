"""Write the README's results from the JSON files in docs/results: no figure there is typed by hand.

python -m build.readme          a test holds the README against what this would write
"""

import argparse
import json
import re
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
        "bench": tables((RESULTS / "bench/bench.md").read_text(), 1),
        "latency": latency(_read("roofline/roofline.json")["alone"]),
        "bench_index": tables((RESULTS / "bench_index/index.md").read_text(), 1),
        "online_retail": tables((RESULTS / "online_retail/recommend.md").read_text(), 2),
        "shelf": (RESULTS / "shelf/shelf.md").read_text(),
        "profiles": tables((RESULTS / "profiles/profiles.md").read_text(), 1),
        "personal": (RESULTS / "personal/personal.md").read_text(),
        "soak": memory(_read("soak/soak.json")),
        "loadtest": without_headings(tables((RESULTS / "loadtest/matrix.md").read_text(), 2)),
        "gateway": (RESULTS / "gateway/gateway.md").read_text(),
        "fuzz": _first_line(RESULTS / "fuzz/fuzz.md"),
        "fuzz_given_up": _first_line(RESULTS / "fuzz_given_up/fuzz.md"),
        "plan": tables((RESULTS / "plan/plan.md").read_text(), 1),
        "plan_check": tables((RESULTS / "plan/check.md").read_text(), 1),
    }


def latency(record: dict[str, Any]) -> str:
    """Latency at concurrency 1 as a Markdown table."""
    arithmetic = [(f"{name}, bare", figures) for name, figures in record["arithmetic"].items()]
    rows = [("search, served", record["served"]), *arithmetic, ("overhead", record["overhead"])]
    lines = ["| ms, concurrency 1 | p50 | p95 | p99 |", "|---|---|---|---|"]
    lines += [f"| {name} | {f['p50']:.2f} | {f['p95']:.2f} | {f['p99']:.2f} |" for name, f in rows]
    return "\n".join(lines) + "\n"


def memory(record: dict[str, Any]) -> str:
    """How memory grows under searches, in a sentence; the interval is of 95 %."""
    grown = record["verdict"]["private"]
    return (
        f"**Private memory** grows by {grown['slope']:.0f} MB [{grown['low']:.0f}, {grown['high']:.0f}] for "
        f"100,000 searches, malformed ones among them, where `make soak` allows {record['limit_mb']:g}.\n"
    )


def filled(text: str) -> str:
    """The README's text with every generated part written anew."""
    for name, block in blocks().items():
        begin, end = f"<!-- {name}: written by python -m build.readme -->\n", f"<!-- end of {name} -->"
        head, rest = text.split(begin)
        _, tail = rest.split(end)
        text = f"{head}{begin}{block}{end}{tail}"
    return text


def tables(report: str, count: int) -> str:
    """A report to the end of so many of its tables; what comes next introduces another."""
    parts = report.strip().split("\n\n")
    places = [place for place, part in enumerate(parts, start=1) if part.startswith("|")]
    return "\n\n".join(parts[: places[count - 1]]) + "\n"


def without_headings(report: str) -> str:
    """A report's headings in bold, as those of a text must be that has its own."""
    return re.sub(r"^#+ (.+)$", r"**\1**", report, flags=re.MULTILINE)


def _read(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((RESULTS / name).read_text())
    return record


def _first_line(file: Path) -> str:
    return file.read_text().partition("\n")[0] + "\n"


def main() -> None:
    """The command line."""
    argparse.ArgumentParser(
        prog="python -m build.readme", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text()))


if __name__ == "__main__":
    main()
