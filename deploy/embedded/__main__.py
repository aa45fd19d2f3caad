"""`python -m deploy.embedded up|down|status|logs`: every flag is also an environment variable SHELFBRIDGE_<NAME>."""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Sequence

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from deploy.embedded import log
from deploy.embedded.server import EmbeddedServer, Status
from deploy.embedded.settings import EmbeddedSettings
from shelfbridge.errors import ShelfbridgeError
from shelfbridge.request import explain

NOT_RUNNING = 3
"""Exit status of `status` for a server that does not run, as service managers have it."""
STOPPED = 130
"""Exit status after Ctrl-C or SIGTERM, as shells have it."""
console = Console(highlight=False)
complaints = Console(stderr=True, highlight=False, soft_wrap=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m deploy.embedded", description="Serve a model repository on this machine."
    )
    commands = top.add_subparsers(dest="command", required=True)
    for name, text in {
        "up": "start the server and wait until all models are ready",
        "down": "let requests in flight finish, then end the server",
        "status": "what the server is doing; exit status 3 if it does not run",
        "logs": "show the server's log",
    }.items():
        command = commands.add_parser(name, help=text, description=text)
        for field, info in EmbeddedSettings.model_fields.items():
            if name == "up" or field == "run_dir":
                default = "" if info.default is None else f" ({info.default})"
                command.add_argument(f"--{field.replace('_', '-')}", help=f"{info.description}{default}")
    commands.choices["up"].add_argument("--once", action="store_true", help="do not start it again when it dies")
    commands.choices["logs"].add_argument("-f", "--follow", action="store_true", help="go on with what is added")
    commands.choices["logs"].add_argument("-n", "--lines", type=int, default=40, help="how many of the last lines (40)")
    return top


def up(server: EmbeddedServer, once: bool) -> int:
    """Start it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if (found := server.status()).crash:
        console.print(f"The last one died: {found.crash}", soft_wrap=True)
    for name, value in server.settings.model_dump().items():
        console.print(f"{name:14} {value}", style="dim")
    with console.status("Starting Triton: loading models"):
        server.up(kept=not once)
    return status(server)


def down(server: EmbeddedServer) -> int:
    """End it."""
    with console.status("Waiting for requests in flight"):
        was_running = server.down()
    console.print("The server is down." if was_running else "No server was running.")
    return 0


def status(server: EmbeddedServer) -> int:
    """Show what it does."""
    found = server.status()
    if not found.running or found.state is None:
        crash = f" It died: {found.crash} (log: {server.log_file})." if found.state else ""
        again = " It is being started again." if found.kept else ""
        console.print(f"No server runs from {server.settings.run_dir}.{crash}{again}", soft_wrap=True)
        return NOT_RUNNING
    console.print(_table(found))
    settings = found.state.settings
    ports = ", ".join(f"{name} {settings.host}:{port}" for name, port in settings.ports.items())
    console.print(
        f"{'Ready' if found.ready else 'Not ready'}, process {found.state.pid}, up {_duration(found)}; {ports}"
    )
    console.print(f"Release {settings.repository}", soft_wrap=True)
    if found.state.deaths:
        words = f"It died and was started again: {found.state.deaths} times, see {server.keeper_log}"
        console.print(words, soft_wrap=True)
    return 0


def logs(server: EmbeddedServer, lines: int, follow: bool) -> int:
    """Show its log."""
    if not server.log_file.is_file():
        complaints.print(f"{server.log_file}: no such file; no server was started from this folder")
        return 1
    print(*log.tail(server.log_file, lines), sep="\n")
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            for text in log.follow(server.log_file):
                print(text, end="", flush=True)
                time.sleep(0 if text else 0.2)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    given = vars(parser().parse_args(arguments))
    command, once = given.pop("command"), given.pop("once", False)
    follow, lines = given.pop("follow", False), given.pop("lines", 0)
    try:
        server = EmbeddedServer(EmbeddedSettings(**{name: value for name, value in given.items() if value is not None}))
        if command == "logs":
            return logs(server, lines, follow)
        return up(server, once) if command == "up" else {"down": down, "status": status}[command](server)
    except ValidationError as error:
        complaints.print(f"A setting cannot be used: {explain(error)}")
    except ShelfbridgeError as error:
        complaints.print(str(error))
    except KeyboardInterrupt:
        complaints.print("stopped")
        return STOPPED
    return 1


def _table(found: Status) -> Table:
    table = Table("model", "version", "state", box=None)
    for row in found.models:
        table.add_row(*row)
    return table


def _duration(found: Status) -> str:
    assert found.state is not None
    minutes, seconds = divmod(int(time.time() - found.state.since), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {seconds} s"


if __name__ == "__main__":
    sys.exit(main())
