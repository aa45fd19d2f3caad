"""What the gateway adds to a search: the same searches directly to the private site and through the gateway, by turns.

    python -m loadtests.gateway --topology deploy/topologies/loadtest.toml --catalogue FILE --judgments FILE --out DIR

One caller, one search at a time; every query is asked by both ways, one right after the other, the first way by turns,
so that both meet the same machine. Direct calls are under mTLS with the gateway's certificate, as its own are.
Figures are those of the percentiles, with 95 % intervals by bootstrap over the queries (Efron, 1979).
Writes gateway.json, gateway.md and gateway.png.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from build.progress import progress
from deploy.hybrid import load
from loadtests import machine
from loadtests.hybrid.cloud import Cloud
from loadtests.program import command_line, count, ending, table, write
from loadtests.serving import queries_of
from shelfbridge.client import TLS, SearchClient

matplotlib.use("Agg")
from matplotlib import pyplot

WARM_UP = 100
RESAMPLES = 2000
PERCENTILES = (50, 90, 99)
Times = NDArray[np.float64]
"""Milliseconds by query and way: direct, through the gateway."""


def measure(direct: SearchClient, through: SearchClient, queries: Sequence[str], bar: Any) -> Times:
    """Ask every query by both ways."""
    found = np.zeros((len(queries), 2))
    task = bar.add_task("searching", total=len(queries))
    for number, query in enumerate(queries):
        for way in (0, 1) if number % 2 else (1, 0):
            since = time.perf_counter()
            (direct, through)[way].search(query)
            found[number, way] = 1000 * (time.perf_counter() - since)
        bar.advance(task)
    return found[WARM_UP:]


def overhead(times: Times) -> dict[str, Any]:
    """Percentiles of both ways, and what the gateway adds to each: value and interval."""
    chance = np.random.default_rng(7)
    drawn = chance.integers(len(times), size=(RESAMPLES, len(times)))
    record: dict[str, Any] = {}
    for percent in PERCENTILES:
        direct, through = np.percentile(times, percent, axis=0).tolist()
        resampled = np.percentile(times[drawn], percent, axis=1)
        low, high = np.percentile(resampled[:, 1] - resampled[:, 0], (2.5, 97.5)).tolist()
        record[f"p{percent}"] = {
            "direct": direct,
            "through": through,
            "added": through - direct,
            "low": low,
            "high": high,
        }
    return record


def text(record: dict[str, Any]) -> str:
    """Markdown."""
    rows = [
        [
            name,
            *(f"{found[way]:.2f}" for way in ("direct", "through")),
            f"{found['added']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]",
        ]
        for name, found in record["percentiles"].items()
    ]
    head = ["ms, concurrency 1", "direct, mTLS", "through the gateway", "added [95 % interval]"]
    where = record["machine"]
    about = f"{record['searches']:,} searches by each way; {where['cores']} cores of {where['processor']}."
    return "\n".join([about, "", *table(head, rows), ""])


def draw(file: Path, times: Times) -> None:
    """Both distributions."""
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    shares = np.linspace(0, 1, len(times))
    for way, name in enumerate(("direct, mTLS", "through the gateway")):
        axes.plot(np.sort(times[:, way]), shares, label=name)
    axes.set_xlim(0, float(np.percentile(times, 99.5)))
    axes.set_xlabel("milliseconds")
    axes.set_ylabel("share of searches that took no longer")
    axes.legend(frameon=False)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = command_line("gateway", __doc__)
    parser.add_argument("--topology", type=Path, required=True, help="such as deploy/topologies/loadtest.toml")
    parser.add_argument("--catalogue", type=Path, required=True, help="what the release was built from")
    parser.add_argument("--judgments", type=Path, required=True, help="their queries are searched, and varied")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--searches", type=count, default=3000, help="by each way (default: %(default)s)")
    options = parser.parse_args(arguments)
    with ending("stopped; nothing was written"):
        topology = load(options.topology)
        queries = queries_of(topology.private.release, options.catalogue, options.judgments)().up_to(
            options.searches + WARM_UP
        )
        options.out.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=options.out) as folder,
            progress(Console(stderr=True)) as bar,
            Cloud(topology, Path(folder) / "security") as cloud,
        ):
            gateway, ca = cloud.use("hybrid"), cloud.folder / "ca.crt"
            own = TLS(ca, cloud.folder / "gateway.crt", cloud.folder / "gateway.key")
            token = cloud.token("hybrid").read_text()
            with (
                SearchClient(f"localhost:{topology.private.port}", tls=own, retries=0) as direct,
                SearchClient(f"localhost:{gateway.settings.port}", tls=TLS(ca), token=token, retries=0) as through,
            ):
                times = measure(direct, through, queries, bar)
        record = {"machine": machine.machine(), "searches": len(times), "percentiles": overhead(times)}
        write(options.out, "gateway", record, text(record), lambda file: draw(file, times))


if __name__ == "__main__":
    main()
