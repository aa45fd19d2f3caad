"""Whether an audit log is what was written, to the last line that a head counts."""

from pathlib import Path

from deploy.audit.chain import START, BrokenChain, Chain, Link
from deploy.audit.log import HEAD, files, read_head


def verify(folder: Path, chain: Chain, *, head: Path | None = None, first: str | None = None) -> int:
    """Check every line of a log.

    Args:
        head: kept elsewhere, to hold the log against beside its own.
        first: file to begin with where those before it are no longer kept.

    Returns:
        How many lines there are.

    Raises:
        BrokenChain: something was altered, moved, taken out or cut off; the message names the first such line.
    """
    if not folder.is_dir():
        raise BrokenChain(f"{folder}: no audit log; name the folder of one, or find out who removed it")
    heads = {path: read_head(path, chain) for path in (folder / HEAD, head) if path}
    kept = [file for file in files(folder) if first is None or file.name >= first]
    if first and (not kept or kept[0].name != first):
        raise BrokenChain(f"{folder / first}: is missing; name the first file that is kept")
    last: Link | None = None if first else START
    count = 0
    for file in kept:
        for place, line in enumerate(chain.read(file, last), 1):
            last, count = line.link, count + 1
            for path, end in heads.items():
                if end.number == last.number and end != last:
                    raise BrokenChain(f"{file}, line {place}: is not the line that {path} knows; compare with a copy")
    for path, end in heads.items():
        if (last or START).number < end.number:
            raise BrokenChain(
                f"{kept[-1] if kept else folder}: number {(last or START).number + 1} is missing at the end, as {path} "
                f"counts {end.number}; compare with a copy of the log"
            )
    return count
