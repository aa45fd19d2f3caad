"""`python -m deploy.hybrid up|down|status --topology FILE`: two sites, the WAN between them, and the gateway."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from deploy.hybrid.cloud import Hybrid
from deploy.hybrid.topology import EXAMPLE, load
from shelfbridge.errors import ShelfbridgeError

NOT_RUNNING = 3
"""Exit status of `status` where a part does not run, as service managers have it."""
console = Console(highlight=False, soft_wrap=True)
complaints = Console(stderr=True, highlight=False, soft_wrap=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m deploy.hybrid", description="Serve from two sites on this machine.")
    commands = top.add_subparsers(dest="command", required=True)
    for name, text in {
        "up": "start both sites, the WAN and the gateway; the consumer of events where profiles are in Redis, and the "
        "collector where the topology has an audit log",
        "down": "end all of them",
        "status": "what runs, and what the WAN is; exit status 3 if a part does not run",
    }.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--topology", type=Path, required=True, help=f"its TOML file, such as {EXAMPLE}")
    return top


def up(hybrid: Hybrid) -> int:
    """Start it."""
    with console.status("Starting both sites"):
        hybrid.up()
    return status(hybrid)


def down(hybrid: Hybrid) -> int:
    """End it."""
    console.print("All is down." if hybrid.down() else "Nothing was running.")
    return 0


def status(hybrid: Hybrid) -> int:
    """Show what runs."""
    found = hybrid.status()
    for name, ready in (*found.sites.items(), (f"gateway {hybrid.gateway.address}", found.gateway)):
        console.print(f"{name}: {'ready' if ready else 'not ready'}")
    for name, runs in found.beside.items():
        console.print(f"{name}: {'runs' if runs else 'does not run'}")
    console.print(f"WAN: {found.wan}")
    all_run = all((found.gateway, hybrid.wan.running, *found.sites.values(), *found.beside.values()))
    return 0 if all_run else NOT_RUNNING


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    given = parser().parse_args(arguments)
    try:
        hybrid = Hybrid(load(given.topology))
        return {"up": up, "down": down, "status": status}[given.command](hybrid)
    except ShelfbridgeError as error:
        complaints.print(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
