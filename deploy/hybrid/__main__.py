"""`python -m deploy.hybrid up|down|status`: two sites, the WAN between them, and the gateway."""

import argparse
import signal
import sys
from collections.abc import Sequence

from deploy.hybrid.cloud import Hybrid
from deploy.hybrid.topology import HybridSettings, load
from shelfbridge.program import OK, UNAVAILABLE, add_command, add_settings, command_line, console, run, settings_of

EXITS = """\
exit status: 0 done, or all runs; 1 a part did not start, or the audit log lacks lines; 2 the topology cannot be used;
3 a part does not run (status)

--topology is an environment variable too: SHELFBRIDGE_TOPOLOGY"""


def up(flags: argparse.Namespace) -> int:
    """Start it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with console().status("Starting both sites"):
        _hybrid(flags).up()
    return status(flags)


def down(flags: argparse.Namespace) -> int:
    """End it."""
    print("All is down." if _hybrid(flags).down() else "Nothing was running.")
    return OK


def status(flags: argparse.Namespace) -> int:
    """Show what runs."""
    found = _hybrid(flags).status()
    for name, (_, words) in found.items():
        print(f"{name}: {words}")
    return OK if all(runs for runs, _ in found.values()) else UNAVAILABLE


COMMANDS = {
    up: "start both sites, the WAN and the gateway; the consumer of events where profiles are in Redis, and the "
    "collector where the topology has an audit log",
    down: "end all of them",
    status: "what runs, and what the WAN is; exit status 3 if a part does not run",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    parser = command_line("deploy.hybrid", "Serve from two sites on this machine.", EXITS)
    commands = parser.add_subparsers(required=True)
    for work, about in COMMANDS.items():
        add_settings(add_command(commands, work.__name__, about, work), HybridSettings)
    return run(parser, arguments)


def _hybrid(flags: argparse.Namespace) -> Hybrid:
    return Hybrid(load(settings_of(HybridSettings, flags).topology))


if __name__ == "__main__":
    sys.exit(main())
