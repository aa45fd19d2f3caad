"""`python -m deploy.audit collect|verify`: every flag is also an environment variable SHELFBRIDGE_AUDIT_<NAME>."""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from deploy.audit.chain import Chain
from deploy.audit.collector import collect, open_source
from deploy.audit.log import AuditLog
from deploy.audit.settings import AuditSettings, CollectorSettings
from deploy.audit.verify import verify
from deploy.audit.versions import served
from shelfbridge.errors import SettingsError
from shelfbridge.profiles import Pseudonyms, load_or_make_key
from shelfbridge.profiles.pseudonym import read_secret
from shelfbridge.program import OK, add_settings, command_line, ended, settings_of

KEY_BYTES = 32
COLLECTS = "The log is open."
"""What the collector says when it is ready."""
EXITS = """\
exit status: 0 done, or the log is as it was written; 1 it is not, or cannot be written; 2 arguments or settings cannot
be used, as where the key is missing"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = command_line("deploy.audit", "Keep the gateway's audit log.", EXITS)
    commands = top.add_subparsers(dest="command", required=True)
    texts: dict[str, tuple[type[AuditSettings], str]] = {
        "collect": (CollectorSettings, "add the gateway's lines to the log until told to stop"),
        "verify": (AuditSettings, "check the log; the first line that is not what was written is named"),
    }
    for name, (settings, text) in texts.items():
        add_settings(commands.add_parser(name, help=text, description=text), settings)
    commands.choices["collect"].add_argument("--once", action="store_true", help="end where the source ends now")
    command = commands.choices["verify"]
    command.add_argument("--head", type=Path, help="a head.json that was copied elsewhere: finds an older log put back")
    command.add_argument("--first", help="name of the first file that is kept, where older ones were deleted")
    return top


def read_chain(path: Path) -> Chain:
    """The chain of the key in a file.

    Raises:
        SettingsError: it holds none, or others may read it.
    """
    try:
        key = bytes.fromhex(read_secret(path).decode("ascii"))
    except ValueError as error:
        raise SettingsError(f"{path}: not a key; it should hold {KEY_BYTES * 2} hexadecimal digits") from error
    if len(key) < KEY_BYTES:
        raise SettingsError(f"{path}: holds {len(key)} bytes of key; it should be {KEY_BYTES} or more")
    return Chain(key)


def run_collect(settings: CollectorSettings, *, once: bool) -> None:
    """Collect until SIGTERM or SIGINT; what is under way is kept first."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    pseudonyms = Pseudonyms(load_or_make_key(settings.pseudonym_key))
    releases = {"private": settings.private_release, "public": settings.public_release}
    versions = {site: served(release) for site, release in releases.items() if release}
    with AuditLog(settings.folder, read_chain(settings.key), max_bytes=settings.max_bytes) as log:
        for name, value in settings.model_dump().items():
            print(f"{name:15} {value}", file=sys.stderr)
        print(COLLECTS, file=sys.stderr, flush=True)
        with closing(open_source(settings.source, log, follow=not once)) as source:
            added = collect(source, log, pseudonyms, stop.is_set, versions)
    print(f"{added} lines were added to {settings.folder}.")


def run_verify(settings: AuditSettings, *, head: Path | None, first: str | None) -> None:
    """Check the log, and say how many lines it has.

    Raises:
        BrokenChain: it is not what was written.
        SettingsError: the key cannot be used.
    """
    count = verify(settings.folder, read_chain(settings.key), head=head, first=first)
    print(f"{count} lines are as they were written.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    flags = parser().parse_args(arguments)

    def work() -> int:
        if flags.command == "collect":
            run_collect(settings_of(CollectorSettings, flags), once=flags.once)
        else:
            run_verify(settings_of(AuditSettings, flags), head=flags.head, first=flags.first)
        return OK

    return ended(work)


if __name__ == "__main__":
    sys.exit(main())
