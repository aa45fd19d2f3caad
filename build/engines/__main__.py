"""TensorRT engines for a release, published as the next one.

    python -m build.engines --release out/releases/current --precision fp16 \\
        --catalogue products.parquet --judgments judgments.parquet --split dev

Run it on the GPU that will serve, in the container of the serving Triton's tag (make engines): a plan is tied to both.
For the encoder, the ranker and the cross-encoder it takes the release's ONNX master (int8.onnx or fp16.onnx), holds it
against the parser's operator table, builds a plan whose optimization profiles follow the shop's own lengths, compares
the engine's outputs with the master's in every corner of every profile, and times it there. With a catalogue and
judgments it measures nDCG@10 of every stage with the engines and with the masters. Only then is the new release
published. What is being served is never touched; a run that fails or is stopped leaves everything as it was, and the
same command goes on where it ended. engine_report.json and engine_report.md are written either way: send them back.
"""

import argparse
from pathlib import Path

from rich.console import Console
from tokenizers import Tokenizer

from build.engines import api, buckets, configs
from build.engines.builder import Options
from build.engines.publishing import masters, publish_engines, source_release
from build.engines.quality import BUDGET, Judged, judge
from build.engines.report import Report
from build.engines.runtime import EngineSession, Gpu
from build.engines.stage import Bench, Job, engine_stage
from build.workspace import Workspace
from shelfbridge import contract
from shelfbridge.catalogue import Split, read_catalogue, read_judgments
from shelfbridge.engine import Precision
from shelfbridge.errors import ArtefactError, DataError, ShelfbridgeError

MODELS = ("encoder", "ranker", "cross_encoder")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = argparse.ArgumentParser(
        prog="python -m build.engines", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    line.add_argument("--release", type=Path, required=True, metavar="DIR", help="the current release, …/current")
    line.add_argument("--precision", choices=("fp16", "int8"), required=True, help="which masters to build from")
    line.add_argument(
        "--catalogue", type=Path, metavar="FILE", help="with --judgments: measure nDCG@10 before publishing"
    )
    line.add_argument("--judgments", type=Path, metavar="FILE")
    line.add_argument("--split", choices=("train", "dev", "test"), default="dev", help="(default: %(default)s)")
    line.add_argument(
        "--budget", type=float, default=BUDGET, help="most nDCG@10 that the engines may lose (default: %(default)s)"
    )
    line.add_argument("--version-compatible", action="store_true", help="newer minor versions may load the plans")
    line.add_argument("--refittable", action="store_true", help="weights can be exchanged without a new build")
    line.add_argument(
        "--workspace-mb", type=_positive, metavar="MB", help="limit of the builder's workspace (default: none)"
    )
    line.add_argument("--runs", type=_positive, default=200, help="timed runs per shape (default: %(default)s)")
    line.add_argument(
        "--out", type=Path, default=Path("engine_report"), metavar="DIR", help="of the report (default: %(default)s)"
    )
    return line


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def main(arguments: list[str] | None = None) -> None:
    """The command line's work."""
    options, console = parser().parse_args(arguments), Console()
    try:
        judged = read(options.catalogue, options.judgments, options.split)
        trt = api.tensorrt()
        bench = Bench(trt, Gpu(), options.release.resolve().parents[1] / "engines", options.runs, console)
        report = Report(options.out, bench)
        made = run(
            options.release,
            bench,
            report,
            precision=options.precision,
            options=Options(options.version_compatible, options.refittable, options.workspace_mb),
            judged=judged,
            budget=options.budget,
        )
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("stopped; nothing was published; the same command goes on where this one ended") from None
    console.print((options.out / "engine_report.md").read_text(), highlight=False, markup=False, soft_wrap=True)
    console.print(f"release: {made}", soft_wrap=True)


def read(catalogue: Path | None, judgments: Path | None, split: Split) -> Judged | None:
    """Catalogue and the split's judgments, None where neither was given.

    Raises:
        DataError: one was given without the other, cannot be used, or has nothing in the split.
    """
    if catalogue is None and judgments is None:
        return None
    if catalogue is None or judgments is None:
        raise DataError("nDCG@10 needs both --catalogue and --judgments; give the other one too")
    products = read_catalogue(catalogue)
    chosen = read_judgments(judgments, products).of(split)
    if not chosen.rows:
        raise DataError(f"{judgments}: no judgment in split {split!r}; choose another (--split)")
    return Judged(products, chosen, split)


def run(
    release: Path,
    bench: Bench,
    report: Report,
    *,
    precision: Precision,
    options: Options,
    judged: Judged | None,
    budget: float,
) -> Path:
    """Build, prove and publish; the report is written whatever the outcome.

    Returns:
        Folder of the new release.

    Raises:
        ArtefactError: something was refused, and nothing was published.
    """
    with report.refusals():
        source, manifest = source_release(release)
        graphs = masters(source, precision, MODELS)
        lengths = buckets.read_lengths(source / "lengths.json")
        tokenizer = Tokenizer.from_file(str(source / "preprocess" / str(manifest["release"]) / "tokenizer.json"))
        profiles = {
            name: buckets.profiles(contract.MODELS[name], lengths, configs.max_batch(source / name / "config.pbtxt"))
            for name in MODELS
        }
        space = Workspace(source.parent.parent / "stages", bench.console)
        for name, graph in graphs.items():
            job = Job(name, graph, precision, profiles[name], options, tokenizer.get_vocab_size())
            report.engines[name] = engine_stage(space, job, bench)
        if judged is not None:
            report.split, report.queries = judged.split, len(judged.judgments.queries)
            sessions = {
                name: EngineSession(folder, trt=bench.trt, device=bench.device)
                for name, folder in report.engines.items()
            }
            report.quality, reason = judge(
                source, graphs, sessions, judged=judged, budget=budget, console=bench.console
            )
            if reason is not None:
                raise ArtefactError(reason)
        about = {"precision": precision, "tensorrt": bench.trt.__version__, "gpu": bench.device.name}
        published = publish_engines(source, report.engines, profiles, lengths, about)
    report.write(release=int(published.name))
    return published


if __name__ == "__main__":
    main()
