"""A release goes live with what was changed of the one before it while it was made."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from build.change import LIMIT, change_with
from build.release.later import Later, Release
from build.workspace import locked, unfinished
from shelfbridge.changes import changes_beside, generation
from shelfbridge.errors import ArtefactError, DataError


@contextmanager
def carried(source: Path, release: Path, since: float | None) -> Iterator[Path | None]:
    """Change a release, complete and not live yet, as another was changed since a moment.

    Until the context ends nobody else can change the other one, and who waits for it then changes what is live.

    Args:
        source: the release that is live, or a link to it; there may be none.
        release: folder of the one that is to go live.
        since: seconds since 1970; None carries nothing.

    Yields:
        Folder of what was changed of the new release, None where nothing was.

    Raises:
        DataError: more was changed than one release may differ by.
    """
    try:
        live = Release.open(source)
    except ArtefactError:  # nothing that can be read is live, so nothing is lost
        yield None
        return
    changes, carrying = changes_beside(release), since is not None
    try:
        if carrying:
            _repeat(live, release, since or 0.0)  # most of it, while others may go on changing
        with locked(live.changes):
            if carrying:
                _repeat(live, release, since or 0.0)
            yield changes if (changes / "current").is_symlink() else None
    finally:
        shutil.rmtree(changes, ignore_errors=True)


def outdated(source: Path, since: float) -> bool:
    """Whether anything was changed of a release before a moment: a catalogue written then says what is so now.

    Args:
        source: the release, or a link to it.
        since: seconds since 1970.
    """
    live = Release.open(source)
    if generation(live.changes) is None:
        return False
    with locked(live.changes):
        return any(moment < since for moment in Later.read(live).times.values())


def _repeat(live: Release, release: Path, since: float) -> None:
    """Change a release as another was changed since a moment; what is so already stays."""
    later, base = Later.read(live), len(live.numbers())
    sold = {one.product_id: one for row, one in enumerate(later.products) if base + row not in later.gone}
    times = {product_id: moment for product_id, moment in later.times.items() if moment >= since}
    if len(times) > LIMIT:
        raise DataError(
            f"{len(times)} products of {live.folder} were changed since the catalogue was written, and {LIMIT} may; "
            "write the catalogue again, with these changes, and build from that"
        )
    if times:
        new = Release.open(release)
        upsert = [sold[product_id] for product_id in times if product_id in sold]
        delete = [product_id for product_id in times if product_id not in sold]
        with unfinished(new.changes) as made:
            change_with(new, made, times, upsert=upsert, delete=delete, console=Console(quiet=True))
