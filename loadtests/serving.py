"""A server to be measured, and a load on it: what the measuring programs here share."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deploy import ROOT
from deploy.embedded import EmbeddedServer, EmbeddedSettings
from loadtests.load import Load, Sample
from loadtests.machine import CORES
from loadtests.queries import QueryStream, words_of
from shelfbridge.catalogue import Catalogue, read_catalogue, read_judgments
from shelfbridge.errors import DataError, SettingsError, ShelfbridgeError
from shelfbridge.release import read_manifest
from shelfbridge.request import explain
from shelfbridge.retrieval import ProductStore

MOST = 750 * CORES
"""Searches a second that a load has queries for."""
COMPARED = 5
"""Products whose ids are held against the release's."""


class LoadFailed(ShelfbridgeError):
    """The load generator ended without a sample."""


def embedded(release: Path, run_dir: Path, **settings: Any) -> EmbeddedServer:
    """An embedded server of a release, on free ports, not started yet.

    Args:
        release: folder of the release, or of a copy with other configs.
        run_dir: of its log and state.
        settings: fields of `EmbeddedSettings`.

    Raises:
        SettingsError: the embedded server has no such setting or does not take the value.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        names = ("grpc_port", "http_port", "metrics_port")
        ports = dict(zip(names, (one.getsockname()[1] for one in sockets), strict=True))
    try:
        return EmbeddedServer(EmbeddedSettings(repository=release, run_dir=run_dir, **ports, **settings))
    except ValidationError as error:
        raise SettingsError(f"the embedded server does not take a setting: {explain(error)}; leave it out") from error


def settings_of(server: EmbeddedServer) -> dict[str, Any]:
    """A server's settings as a record holds them: without folders and ports."""
    return server.settings.model_dump(
        mode="json", exclude={"repository", "run_dir", "grpc_port", "http_port", "metrics_port"}
    )


def pid_of(server: EmbeddedServer) -> int:
    """Process id of a running embedded server.

    Raises:
        LoadFailed: it does not run any more.
    """
    status = server.status()
    if not status.running or status.state is None:
        raise LoadFailed(f"the server died ({status.crash}); its log is {server.log_file}")
    return status.state.pid


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """What was added to each figure."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


def sold(release: Path, file: Path) -> Catalogue:
    """A release's catalogue.

    Raises:
        ArtefactError: the release is missing or damaged.
        DataError: the catalogue cannot be read, or has other products than the release.
    """
    catalogue = read_catalogue(file)
    ids = ProductStore.numbers(release / "postprocess" / str(read_manifest(release)["release"]))
    products = catalogue.products
    places = range(0, len(products), max(1, len(products) // COMPARED))
    if len(ids) != len(products) or any(ids[place] != products[place].product_id for place in places):
        raise DataError(
            f"{release} was built from another catalogue than {file} ({len(ids):,} and {len(products):,} products); "
            "give that one (--catalogue), or the release that was built from this one"
        )
    return catalogue


def queries_of(release: Path, catalogue: Path, judgments: Path) -> Callable[[], QueryStream]:
    """Queries that never repeat: a shop's judged ones, varied by words of its catalogue. Each call begins anew.

    Raises:
        ArtefactError: the release is missing or damaged.
        DataError: a file cannot be used, or is of another shop.
    """
    shop = sold(release, catalogue)
    texts, words = list(read_judgments(judgments, shop).queries.values()), words_of(shop)
    return lambda: QueryStream(texts, words)


def closed(server: EmbeddedServer, clients: int, seconds: float) -> Load:
    """So many clients for so long, each with a new query as soon as it has its answer; without queries yet."""
    about = {"kind": "shelfbridge", "address": server.address, "deep": False}
    return Load(about, pid_of(server), [], clients=clients, seconds=seconds)


def most(seconds: float) -> int:
    """Queries for a load of such a length, its warm-up included."""
    return int(MOST * (seconds + 1))


def put(load: Load, stream: QueryStream, count: int) -> Sample:
    """Put a load of at most `count` queries that never repeat on a server; what it leaves goes back to the stream.

    Raises:
        LoadFailed: as `generate` says.
    """
    queries = stream.up_to(count)
    sample = generate(replace(load, queries=queries))
    stream.give_back(queries[sample.asked :])
    return sample


def generate(load: Load) -> Sample:
    """Have a process of its own do a load.

    Raises:
        LoadFailed: it could not, its queries ended before it, or not one search was answered.
    """
    made = subprocess.run(
        [sys.executable, "-m", "loadtests.load"],
        input=json.dumps(asdict(load)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    if made.returncode:
        last = (made.stderr.strip().splitlines() or ["nothing said"])[-1]
        raise LoadFailed(f"the load generator failed ({last}); look at the server's log")
    sample = Sample(**json.loads(made.stdout))
    if not sample.latencies_ms and not any(sample.answers):
        reason = next(iter(sample.errors), "no query was left")
        raise LoadFailed(f"no search was answered ({reason}); look at the server's log")
    if sample.asked == len(load.queries):
        raise LoadFailed(f"{sample.asked:,} queries ended before the load did; give fewer --seconds or more judgments")
    return sample
