"""TensorRT engines for a release, published as the next one.

    python -m build.engines --release out/releases/current --precision fp16 \\
        --catalogue products.parquet --judgments judgments.parquet --split dev

Run it on the GPU that will serve, in the container of the serving Triton's tag (make engines): a plan is tied to both.
For the encoder, the ranker and the cross-encoder, and the networks of a shelf where the release has one, it takes the
release's ONNX master (int8.onnx or fp16.onnx), holds it against the parser's operator table, builds a plan whose
optimization profiles follow the shop's own lengths, compares the engine's outputs with the master's in every corner of
every profile, and times it there. It measures nDCG@10 of every search stage with the engines, with the masters and in
fp32. Only then is the new release published. What is being served is never touched; a run that fails or is stopped
leaves everything as it was, and the same command goes on where it ended. engine_report.json, engine_report.md and
tensorrt.log are written either way: send them back.

Without a GPU, `python -m build.engines check out/releases/current` asks NVIDIA's parser and builder about every graph.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from tokenizers import Tokenizer

from build.data.splits import with_all_splits
from build.engines import api, buckets, check, configs
from build.engines.builder import Options
from build.engines.publishing import MODELS, OF_SHELF, masters, publish_engines, source_release
from build.engines.quality import BUDGET, Judged, ensembles, judge
from build.engines.report import Report
from build.engines.runtime import EngineSession, Gpu
from build.engines.stage import Bench, EngineRefused, Job, engine_stage, told
from build.workspace import Workspace, tree_digest
from shelfbridge import contract
from shelfbridge.catalogue import Split, read_catalogue, read_judgments
from shelfbridge.engine import Precision
from shelfbridge.errors import ArtefactError, DataError
from shelfbridge.program import command_line, ending


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = command_line("build.engines", __doc__)
    default = "(default: %(default)s)"
    line.add_argument("--release", type=Path, required=True, metavar="DIR", help="the current release, …/current")
    line.add_argument("--precision", choices=("fp16", "int8"), required=True, help="which masters to build from")
    line.add_argument("--catalogue", type=Path, metavar="FILE", help="what the release was built from")
    line.add_argument("--judgments", type=Path, metavar="FILE", help="judged queries, to measure nDCG@10 by")
    line.add_argument("--unjudged", action="store_true", help="publish without having measured nDCG@10")
    line.add_argument("--split", choices=("train", "dev", "test"), default="dev", help=default)
    line.add_argument("--budget", type=float, default=BUDGET, help=f"nDCG@10 they may lose of fp32 {default}")
    line.add_argument("--version-compatible", action="store_true", help="newer minor versions may load the plans")
    line.add_argument("--refittable", action="store_true", help="weights can be exchanged without a new build")
    line.add_argument(
        "--workspace-mb", type=_positive, metavar="MB", help="limit of the builder's workspace (default: none)"
    )
    line.add_argument("--runs", type=_positive, default=200, help=f"timed runs per shape {default}")
    line.add_argument("--out", type=Path, default=Path("engine_report"), metavar="DIR", help=f"of the report {default}")
    return line


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def main(arguments: list[str] | None = None) -> None:
    """The command line's work."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["check"]:
        check.main(arguments[1:])
        return
    options, console = parser().parse_args(arguments), Console()
    report = Report(options.out)
    with ending("nothing was published; the same command goes on where this one ended"), report.kept():
        judged = read(options.catalogue, options.judgments, options.split, unjudged=options.unjudged)
        trt = api.tensorrt()
        report.tensorrt = trt.__version__
        gpu = Gpu()
        report.gpu = {"name": gpu.name, "compute_capability": gpu.compute_capability}
        made = run(
            options.release,
            Bench(trt, gpu, options.release.resolve().parents[1] / "engines", options.runs, console),
            report,
            precision=options.precision,
            options=Options(options.version_compatible, options.refittable, options.workspace_mb),
            judged=judged,
            budget=options.budget,
        )
    report.write(release=int(made.name))
    console.print((options.out / "engine_report.md").read_text(), highlight=False, markup=False, soft_wrap=True)
    console.print(f"release: {made}", soft_wrap=True)


def read(catalogue: Path | None, judgments: Path | None, split: Split, *, unjudged: bool) -> Judged | None:
    """Catalogue and the split's judgments, None where neither was given.

    Raises:
        DataError: one was given without the other, neither without `unjudged`, one cannot be used, or has nothing in
            the split.
    """
    if catalogue is None and judgments is None:
        if not unjudged:
            raise DataError(
                "engines are published only when their nDCG@10 was measured; give --catalogue and --judgments, or "
                "--unjudged to publish them on their agreement with the masters alone"
            )
        return None
    if catalogue is None or judgments is None:
        raise DataError("nDCG@10 needs both --catalogue and --judgments; give the other one too")
    products = read_catalogue(catalogue)
    chosen = with_all_splits(read_judgments(judgments, products))[0].of(split)
    if not chosen.rows:
        raise DataError(f"{judgments}: no judgment in split {split!r}; choose another (--split)")
    return Judged(products, chosen, split, tree_digest(catalogue))


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
    """Build, prove and publish; the report learns what was seen on the way.

    Returns:
        Folder of the new release.

    Raises:
        ArtefactError: something was refused, and nothing was published.
        DataError: the judgments are of another catalogue than the release's.
    """
    source, manifest = source_release(release)
    models = MODELS + (OF_SHELF if "shelf" in manifest else ())
    graphs, originals = masters(source, precision, models), masters(source, "fp32", MODELS)
    if judged is not None and not str(manifest.get("data", "")).startswith(judged.digest):
        raise DataError(f"{source} was built from another catalogue than the one given; give that one (--catalogue)")
    lengths = buckets.read_lengths(source)
    tokenizer = Tokenizer.from_file(str(source / "preprocess" / str(manifest["release"]) / "tokenizer.json"))
    profiles = {
        name: buckets.profiles(contract.MODELS[name], lengths, configs.max_batch(source / name / "config.pbtxt"))
        for name in models
    }
    jobs = [Job(name, graph, profiles[name], options, tokenizer.get_vocab_size()) for name, graph in graphs.items()]
    for job in jobs:
        if job.precision != precision:
            bench.console.print(f"  {job.name}: it has no int8 master; its engine is fp16", highlight=False)
    engines = build_all(Workspace(source.parent.parent / "stages", bench.console), jobs, bench, report)
    if judged is not None:
        report.split, report.queries = judged.split, len(judged.judgments.queries)
        sessions = {name: EngineSession(folder, trt=bench.trt, device=bench.device) for name, folder in engines.items()}
        report.quality, reason = judge(
            ensembles(source, originals),
            graphs,
            sessions,
            judged=judged,
            budget=budget,
            console=bench.console,
        )
        if reason is not None:
            raise ArtefactError(reason)
    about = {"precision": precision, "gpu": bench.device.name, "tools": report.tools()}
    return publish_engines(source, engines, profiles, lengths, about)


def build_all(space: Workspace, jobs: list[Job], bench: Bench, report: Report) -> dict[str, Path]:
    """The folders of all engines, by model.

    Raises:
        ArtefactError: some were refused; the others were built all the same.
    """
    engines, refused = dict[str, Path](), []
    for job in jobs:
        try:
            engines[job.name] = engine_stage(space, job, bench)
            report.engines[job.name] = told(engines[job.name])
        except ArtefactError as error:
            refused.append(str(error))
            if isinstance(error, EngineRefused):
                report.engines[job.name] = error.told
    if refused:
        raise ArtefactError("\n".join(refused))
    return engines


if __name__ == "__main__":
    main()
