"""`python -m deploy.embedded up|down|status|logs`: every flag is also an environment variable SHELFBRIDGE_<NAME>."""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Sequence

from rich.table import Table

from deploy.embedded import log
from deploy.embedded.server import EmbeddedServer, State, Status
from deploy.embedded.settings import EmbeddedSettings
from shelfbridge.errors import PrerequisiteError
from shelfbridge.program import OK, UNAVAILABLE, add_command, add_settings, command_line, console, run, settings_of

EXITS = """\
exit status: 0 done, or the server runs; 1 it did not start; 2 arguments or settings cannot be used; 3 it does not run
(status); 130 stopped by Ctrl-C or SIGTERM"""


def up(flags: argparse.Namespace) -> int:
    """Start it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server, shown = _server(flags), console()
    if crash := server.status().crash:
        shown.print(f"The last one died: {crash}")
    for name, value in server.settings.model_dump().items():
        shown.print(f"{name:14} {value}", style="dim")
    with shown.status("Starting Triton: loading models"):
        server.up(kept=not flags.once)
    return status(flags)


def down(flags: argparse.Namespace) -> int:
    """End it."""
    with console().status("Waiting for requests in flight"):
        was_running = _server(flags).down()
    print("The server is down." if was_running else "No server was running.")
    return OK


def status(flags: argparse.Namespace) -> int:
    """Show what it does."""
    server, shown = _server(flags), console()
    found = server.status()
    if not found.running or found.state is None:
        crash = f" It died: {found.crash} (log: {server.log_file})." if found.state else ""
        again = " It is being started again." if found.kept else ""
        shown.print(f"No server runs from {server.settings.run_dir}.{crash}{again}")
        return UNAVAILABLE
    settings = found.state.settings
    ports = ", ".join(f"{name} {settings.host}:{port}" for name, port in settings.ports.items())
    shown.print(_table(found))
    shown.print(
        f"{'Ready' if found.ready else 'Not ready'}, process {found.state.pid}, up {_duration(found.state)}; {ports}"
    )
    shown.print(f"Release {settings.repository}")
    if found.state.deaths:
        shown.print(f"It died and was started again: {found.state.deaths} times, see {server.keeper_log}")
    return OK


def logs(flags: argparse.Namespace) -> int:
    """Show its log."""
    file = _server(flags).log_file
    if not file.is_file():
        raise PrerequisiteError(f"{file}: no such file; no server was started from this folder")
    print(*log.tail(file, flags.lines), sep="\n")
    if flags.follow:
        with contextlib.suppress(KeyboardInterrupt):
            for text in log.follow(file):
                print(text, end="", flush=True)
                time.sleep(0 if text else 0.2)
    return OK


COMMANDS = {
    up: "start the server and wait until all models are ready",
    down: "let requests in flight finish, then end the server",
    status: "what the server is doing; exit status 3 if it does not run",
    logs: "show the server's log",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    parser = command_line("deploy.embedded", "Serve a model repository on this machine.", EXITS)
    commands = parser.add_subparsers(required=True)
    made = {work: add_command(commands, work.__name__, about, work) for work, about in COMMANDS.items()}
    for work, command in made.items():
        add_settings(command, EmbeddedSettings, None if work is up else ["run_dir"])
    made[up].add_argument("--once", action="store_true", help="do not start it again when it dies")
    made[logs].add_argument("-f", "--follow", action="store_true", help="go on with what is added")
    made[logs].add_argument("-n", "--lines", type=int, default=40, help="how many of the last lines (40)")
    return run(parser, arguments)


def _server(flags: argparse.Namespace) -> EmbeddedServer:
    return EmbeddedServer(settings_of(EmbeddedSettings, flags))


def _table(found: Status) -> Table:
    table = Table("model", "version", "state", box=None)
    for row in found.models:
        table.add_row(*row)
    return table


def _duration(state: State) -> str:
    minutes, seconds = divmod(int(time.time() - state.since), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {seconds} s"


if __name__ == "__main__":
    sys.exit(main())
