"""`python -m deploy.audit collect|verify`: every flag is also an environment variable SHELFBRIDGE_AUDIT_<NAME>."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from deploy.audit.chain import read_chain
from deploy.audit.collector import collect, open_source
from deploy.audit.log import AuditLog, verify
from deploy.audit.record import served
from deploy.audit.settings import AuditSettings, CollectorSettings
from shelfbridge.profiles import Pseudonyms, load_or_make_key
from shelfbridge.program import OK, add_command, add_settings, command_line, run, settings_of, told_to_stop

COLLECTS = "The log is open."
"""What the collector says when it is ready."""
EXITS = """\
exit status: 0 done, or the log is as it was written; 1 it is not, or cannot be written; 2 arguments or settings cannot
be used, as where the key is missing"""


def collect_lines(flags: argparse.Namespace) -> int:
    """Collect until SIGTERM or SIGINT; what is under way is kept first."""
    settings, stop = settings_of(CollectorSettings, flags), told_to_stop()
    pseudonyms = Pseudonyms(load_or_make_key(settings.pseudonym_key))
    releases = {"private": settings.private_release, "public": settings.public_release}
    versions = {site: served(release) for site, release in releases.items() if release}
    with AuditLog(settings.folder, read_chain(settings.key), max_bytes=settings.max_bytes) as log:
        for name, value in settings.model_dump().items():
            print(f"{name:15} {value}", file=sys.stderr)
        print(COLLECTS, file=sys.stderr, flush=True)
        with closing(open_source(settings.source, log, follow=not flags.once)) as source:
            added = collect(source, log, pseudonyms, stop.is_set, versions)
    print(f"{added} lines were added to {settings.folder}.")
    return OK


def verify_log(flags: argparse.Namespace) -> int:
    """Check the log, and say how many lines it has."""
    settings = settings_of(AuditSettings, flags)
    count = verify(settings.folder, read_chain(settings.key), head=flags.head, first=flags.first)
    print(f"{count} lines are as they were written.")
    return OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    parser = command_line("deploy.audit", "Keep the gateway's audit log.", EXITS)
    commands = parser.add_subparsers(required=True)
    command = add_command(commands, "collect", "add the gateway's lines to the log until told to stop", collect_lines)
    add_settings(command, CollectorSettings)
    command.add_argument("--once", action="store_true", help="end where the source ends now")
    about = "check the log; the first line that is not what was written is named"
    command = add_command(commands, "verify", about, verify_log)
    add_settings(command, AuditSettings)
    command.add_argument("--head", type=Path, help="a head.json that was copied elsewhere: finds an older log put back")
    command.add_argument("--first", help="name of the first file that is kept, where older ones were deleted")
    return run(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
