"""Write the figures of README.md and docs/*.md from the JSON files in docs/results: no figure there is typed by hand.

python -m build.readme          a test holds the pages against what this would write
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from build.evaluation.report import table
from build.frontier.report import summary
from shelfbridge.measure.report import Table
from shelfbridge.program import command_line

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
PART = re.compile(r"(<!-- (\w+): written by python -m build\.readme -->\n).*?(<!-- end of \2 -->)", re.DOTALL)
"""A part of a page that this program writes: its first line, its name, its last line."""


def pages() -> Iterator[Path]:
    """Iterate over the pages that may have generated parts."""
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").glob("*.md"))


def blocks() -> dict[str, str]:
    """Return the generated parts by name. Each stands on one page."""
    return {
        "headline": headline(),
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
        "changes": (RESULTS / "changes/changes.md").read_text(),
        "loadtest": without_headings(tables((RESULTS / "loadtest/matrix.md").read_text(), 2)),
        "gateway": (RESULTS / "gateway/gateway.md").read_text(),
        "fuzz": _first_line(RESULTS / "fuzz/fuzz.md"),
        "fuzz_given_up": _first_line(RESULTS / "fuzz_given_up/fuzz.md"),
        "plan": tables((RESULTS / "plan/plan.md").read_text(), 1),
        "plan_check": tables((RESULTS / "plan/check.md").read_text(), 1),
    }


def headline() -> str:
    """Return the README's table: a few figures, each with the data that it was measured on."""
    bench, gateway = _read("bench/bench.json"), _read("gateway/gateway.json")
    alone, shelf = _read("roofline/roofline.json"), _read("online_retail/recommend.json")
    loops = [one for one in bench["closed"] if one["contender"] == "search"]
    served, gain = alone["alone"]["served"], shelf["differences"]["overall"]["recall"]
    added = {part: gateway["ways"]["gateway"]["added"][part]["value"] for part in ("p50", "p99")}
    rows = [
        _ranking("a subset of ESCI", _read("esci_us/evaluation.json")),
        _ranking("the sample shop", _read("sample/evaluation.json")),
        (
            "recall@20 of what shoppers buy next",
            f"{shelf['test']['shelf']['overall']['recall']:.3f}; {gain['difference']:+.3f} [{gain['low']:+.3f}, "
            f"{gain['high']:+.3f}] over the best baseline",
            f"UCI Online Retail, {shelf['cases']['test']:,} baskets",
        ),
        (
            "one search at a time, p50 and p99",
            f"{served['p50']:.1f} and {served['p99']:.1f} ms",
            f"ESCI, {alone['products']:,} products, {alone['machine']['cores']} cores",
        ),
        (
            f"searches a second with {_listed(str(one['clients']) for one in loops)} clients",
            _listed(f"{one['per_second']['median']:.0f}" for one in loops),
            f"the same; the clients share the {bench['machine']['cores']} cores",
        ),
        (
            "what the gateway adds to p50 and p99",
            f"{added['p50']:+.2f} and {added['p99']:+.2f} ms",
            f"the sample shop, {gateway['queries']:,} queries, {gateway['machine']['cores']} cores",
        ),
    ]
    return f"{Table(('what', 'figure', 'measured on'), rows)}\n"


def _ranking(data: str, record: dict[str, Any]) -> tuple[str, str, str]:
    words, ranked = (record["stages"][stage]["nDCG@10"] for stage in ("lexical", "ranked"))
    return (
        "nDCG@10 of `search`, and of BM25",
        f"{ranked['mean']:.3f} and {words['mean']:.3f} (paired p {ranked['p']:.3f})",
        f"{data}, {record['products']:,} products, {record['queries']} {record['split']} queries",
    )


def _listed(words: Iterable[str]) -> str:
    return re.sub(r", ([^,]*)$", r" and \1", ", ".join(words))


def latency(record: dict[str, Any]) -> str:
    """Return latency at concurrency 1 as a Markdown table."""
    arithmetic = [(f"{name}, bare", figures) for name, figures in record["arithmetic"].items()]
    rows = [("search, served", record["served"]), *arithmetic, ("overhead", record["overhead"])]
    lines = ["| ms, concurrency 1 | p50 | p95 | p99 |", "|---|---|---|---|"]
    lines += [f"| {name} | {f['p50']:.2f} | {f['p95']:.2f} | {f['p99']:.2f} |" for name, f in rows]
    return "\n".join(lines) + "\n"


def memory(record: dict[str, Any]) -> str:
    """Return how memory grows under searches, in a sentence; the interval is of 95 %."""
    grown = record["verdict"]["private"]
    return (
        f"**Private memory** grows by {grown['slope']:.0f} MB [{grown['low']:.0f}, {grown['high']:.0f}] for "
        f"100,000 searches, malformed ones among them, where `make soak` allows {record['limit_mb']:g}.\n"
    )


def filled(text: str) -> str:
    """Return a page's text with every generated part of it written anew."""
    known = blocks()
    return PART.sub(lambda part: f"{part[1]}{known[part[2]]}{part[3]}", text)


def tables(report: str, count: int) -> str:
    """Return a report to the end of so many of its tables; what comes next introduces another."""
    parts = report.strip().split("\n\n")
    places = [place for place, part in enumerate(parts, start=1) if part.startswith("|")]
    return "\n\n".join(parts[: places[count - 1]]) + "\n"


def without_headings(report: str) -> str:
    """Return a report with its headings in bold, for a page that has headings of its own."""
    return re.sub(r"^#+ (.+)$", r"**\1**", report, flags=re.MULTILINE)


def _read(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((RESULTS / name).read_text())
    return record


def _first_line(file: Path) -> str:
    return file.read_text().partition("\n")[0] + "\n"


def main() -> None:
    """Run the command line."""
    command_line("build.readme", __doc__ or "").parse_args()
    for page in pages():
        page.write_text(filled(page.read_text()))


if __name__ == "__main__":
    main()
