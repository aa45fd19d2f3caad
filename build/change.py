"""Add, change and delete products of a release while it is served; searches see it within a second.

    python -m build.change --release out/releases/current upsert products.jsonl
    python -m build.change --release out/releases/current delete B07X1 B07X2
    python -m build.change --release out/releases/current status

`upsert` takes whole products in any form that a build reads: those that the release has are replaced, others are added.
The server must see the folder that holds the release, as changes lie beside it. Nothing is restarted. It is asked which
release it answers from (--server), and a change that it would not see is refused.

The release itself stays as it is, and so does what it knows of its shop: models, and how rare words are. A change costs
what has changed since the release, not what the catalogue holds; after some thousands of changes build a new release,
from a catalogue that has them. What is changed after that catalogue was written is carried over when it goes live.
"""

import argparse
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from build.release.later import Later, Release, write_asked_again
from build.workspace import unfinished
from shelfbridge.catalogue import Product, read_catalogue, summary
from shelfbridge.changes import generation, sync, write_record
from shelfbridge.errors import ArtefactError, DataError
from shelfbridge.program import command_line, ending
from shelfbridge.retrieval import CandidateIndex, ProductStore

LIMIT = 10_000
"""Most products that may have changed: every search compares all of them, and every change writes all of them."""


@dataclass(frozen=True)
class Status:
    """What has changed since a release."""

    generation: str | None
    added: int
    replaced: int
    deleted: int
    """Of the release's own products."""

    def __str__(self) -> str:
        if self.generation is None:
            return "nothing has changed since the release"
        return f"generation {self.generation}: {self.added} added, {self.replaced} replaced, {self.deleted} deleted"


def change(
    folder: Path, *, upsert: Sequence[Product] = (), delete: Sequence[str] = (), console: Console | None = None
) -> list[str]:
    """Change the products of a release; what is served changes in one step, or not at all.

    Changes made at the same time wait for each other. Where the folder is a link, and another release goes live while
    this waits, that one is changed.

    Args:
        folder: of the release, or a link to it.
        upsert: products to add, or to replace those of the same id.
        delete: ids of products that are no longer sold.
        console: for the progress.

    Returns:
        Ids to delete that the catalogue does not have.

    Raises:
        ArtefactError: the release or its changes are damaged, or were made by an older build.
        DataError: more than `LIMIT` products would differ from the release's.
    """
    while True:
        release = Release.open(folder)
        with unfinished(release.changes) as made:
            if folder.resolve() == release.folder:
                times = dict.fromkeys([*(product.product_id for product in upsert), *delete], time.time())
                return change_with(
                    release, made, times, upsert=upsert, delete=delete, console=console or Console(quiet=True)
                )


def change_with(
    release: Release,
    made: Path,
    times: Mapping[str, float],
    *,
    upsert: Sequence[Product],
    delete: Sequence[str],
    console: Console,
) -> list[str]:
    """As `change`, by who has an unfinished folder beside the other generations, with the time of each change."""
    ids = release.numbers()
    later = Later.read(release)
    before = (list(later.products), set(later.gone))
    unread = later.put(upsert, ids)
    unknown = later.remove(delete, ids)
    if (later.products, later.gone) == before:
        if repeated := {one: moment for one, moment in times.items() if moment > later.times.get(one, moment)}:
            write_asked_again(release.changes, repeated)
        return unknown
    if len(later.products) > LIMIT:
        raise DataError(
            f"{len(later.products)} products differ or differed from the release's, and {LIMIT} may; "
            "build a new release"
        )
    later.times |= times
    if unread:
        later.encode(release, unread, console)
    retrieve, store = release.part("retrieve"), release.part("postprocess")
    base = CandidateIndex.open(retrieve)
    later.write(made, base)
    write_record(made, release.folder)
    base.with_changes(made)  # what cannot be opened is not published
    ProductStore.open(store).with_changes(made)
    _publish(made)
    return unknown


def status(folder: Path) -> Status:
    """What has changed since a release.

    Raises:
        ArtefactError: the release or its changes are damaged.
    """
    release = Release.open(folder)
    current = generation(release.changes)
    if current is None:
        return Status(None, 0, 0, 0)
    try:
        later, ids = Later.read(release), release.numbers()
    except ArtefactError:
        if generation(release.changes) == current:
            raise
        return status(folder)  # it went while it was read, as there are newer ones
    sold = [p for row, p in enumerate(later.products) if row + len(ids) not in later.gone]
    replaced = sum(ids.find(product.product_id) >= 0 for product in sold)
    gone = sum(row < len(ids) for row in later.gone)
    return Status(str(current), len(sold) - replaced, replaced, gone - replaced)


def _publish(made: Path) -> None:
    """Let `current` point to a complete generation, and delete all but it and the one before.

    A process that is still opening an older one finds it gone, and opens this.
    """
    changes = made.parent
    earlier = generation(changes)
    numbers = (int(path.name.split("-")[0]) for path in changes.iterdir() if path.name[0].isdigit())
    made = made.rename(changes / f"{1 + max(numbers, default=0)}-{secrets.token_hex(3)}")
    link = changes / ".next"
    link.unlink(missing_ok=True)
    link.symlink_to(made.name)
    link.replace(changes / "current")
    sync(changes)
    for old in changes.iterdir():
        if old.name[0].isdigit() and old.name not in (made.name, earlier):
            shutil.rmtree(old, ignore_errors=True)


def served(address: str) -> tuple[str, ...] | None:
    """Numbers of the release that a server answers from, None where no server answers within a second."""
    try:
        with InferenceServerClient(address) as client:
            return tuple(client.get_model_metadata("search", client_timeout=1.0).versions)
    except InferenceServerException:
        return None


def check_served(release: Release, address: str) -> str:
    """Hold a release against what a server answers from.

    Returns:
        A sentence on what was seen.

    Raises:
        ArtefactError: it answers from another release, whose searches would not see a change of this one.
    """
    found = served(address)
    if found is None:
        return f"no server answers at {address}, so whether release {release.number} is served was not seen"
    if release.number not in found:
        other = release.folder.with_name(found[0]) if found else release.folder.parent
        raise ArtefactError(
            f"the server at {address} serves release {', '.join(found) or 'none'}, not {release.number} "
            f"({release.folder}): its searches would not see a change of that one. Change what is served "
            f"(--release {other}), or start the server again; --server none changes it all the same, to be seen later"
        )
    return f"the server at {address} serves release {release.number}"


def main() -> None:
    """The command line."""
    parser = command_line("build.change", __doc__ or "")
    parser.add_argument("--release", type=Path, required=True, help="folder of the release, or out/releases/current")
    parser.add_argument(
        "--server",
        default=os.environ.get("SHELFBRIDGE_SERVER", "localhost:8001"),
        metavar="ADDRESS",
        help="gRPC address of the server that is to see the change, none to ask none (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    upsert = commands.add_parser("upsert", help="add products, or replace those of the same id")
    upsert.add_argument("file", type=Path, help=".jsonl, .csv, .tsv or .parquet, as --catalogue of a build")
    delete = commands.add_parser("delete", help="delete products")
    delete.add_argument("id", nargs="+")
    commands.add_parser("status", help="say what has changed since the release")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    with ending("status says what has changed", "status says what has changed"):
        if options.command != "status":
            _change_by(options, console)
        console.print(str(status(options.release)))


def _change_by(options: argparse.Namespace, console: Console) -> None:
    begun, release = time.monotonic(), Release.open(options.release)
    seen = "" if options.server == "none" else check_served(release, options.server)
    if options.command == "upsert":
        catalogue = read_catalogue(options.file)
        if catalogue.rejected:
            console.print(summary(catalogue.rejected), markup=False)
        change(options.release, upsert=catalogue.products, console=console)
    elif unknown := change(options.release, delete=options.id, console=console):
        console.print(f"not in the catalogue: {', '.join(unknown)}", markup=False)
    console.print(f"release {release.number} is as asked after {time.monotonic() - begun:.1f} s; {seen}".rstrip("; "))


if __name__ == "__main__":
    main()
