"""`python -m deploy.hybrid up|down|status`: two sites, the WAN between them, and the gateway."""

import argparse
import sys
from collections.abc import Sequence

from deploy.hybrid.cloud import Hybrid
from deploy.hybrid.topology import HybridSettings, load
from shelfbridge.program import OK, UNAVAILABLE, add_settings, command_line, console, ended, settings_of

EXITS = """\
exit status: 0 done, or all runs; 1 a part did not start, or the audit log lacks lines; 2 the topology cannot be used;
3 a part does not run (status)

--topology is an environment variable too: SHELFBRIDGE_TOPOLOGY"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = command_line("deploy.hybrid", "Serve from two sites on this machine.", EXITS)
    commands = top.add_subparsers(dest="command", required=True)
    for name, text in {
        "up": "start both sites, the WAN and the gateway; the consumer of events where profiles are in Redis, and the "
        "collector where the topology has an audit log",
        "down": "end all of them",
        "status": "what runs, and what the WAN is; exit status 3 if a part does not run",
    }.items():
        add_settings(commands.add_parser(name, help=text, description=text), HybridSettings)
    return top


def up(hybrid: Hybrid) -> int:
    """Start it."""
    with console().status("Starting both sites"):
        hybrid.up()
    return status(hybrid)


def down(hybrid: Hybrid) -> int:
    """End it."""
    print("All is down." if hybrid.down() else "Nothing was running.")
    return OK


def status(hybrid: Hybrid) -> int:
    """Show what runs."""
    found = hybrid.status()
    for name, ready in (*found.sites.items(), (f"gateway {hybrid.gateway.address}", found.gateway)):
        print(f"{name}: {'ready' if ready else 'not ready'}")
    for name, runs in found.beside.items():
        print(f"{name}: {'runs' if runs else 'does not run'}")
    print(f"WAN: {found.wan}")
    all_run = all((found.gateway, hybrid.wan.running, *found.sites.values(), *found.beside.values()))
    return OK if all_run else UNAVAILABLE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    flags = parser().parse_args(arguments)
    command = {"up": up, "down": down, "status": status}[flags.command]
    return ended(lambda: command(Hybrid(load(settings_of(HybridSettings, flags).topology))))


if __name__ == "__main__":
    sys.exit(main())
