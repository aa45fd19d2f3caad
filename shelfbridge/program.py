"""What command lines have in common: flags made of settings, exit statuses, and how a program ends.

A program's settings are one pydantic-settings class: each field is a flag and an environment variable, and this module
is where that is so.
"""

import argparse
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings
from rich.console import Console

from shelfbridge.errors import DataError, InvalidQuery, SettingsError, ShelfbridgeError
from shelfbridge.request import explain

OK, FAILED, BAD_INPUT, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit statuses: done; it went wrong; arguments, settings or data cannot be used (argparse's own status); the server
does not run or does not answer (as service managers have it); Ctrl-C (as shells have it)."""

CURES = {
    errno.ENOSPC: "make room on that disk, or name a folder on another",
    errno.EDQUOT: "make room within the quota, or name a folder elsewhere",
    errno.EACCES: "let this user read and write there, or name another place",
    errno.EPERM: "let this user do that, or name another place",
    errno.EROFS: "name a place that can be written",
    errno.ENOENT: "see that it exists, or name another",
    errno.ENOTDIR: "a file is where a folder should be; move it, or name another place",
    errno.EEXIST: "a file is where a folder should be; move it, or name another place",
    errno.EISDIR: "a folder is where a file should be; move it, or name another place",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.EADDRINUSE: "stop what holds the port, or choose another",
    errno.ECONNREFUSED: "see that what should answer there runs",
}
"""What to do about an error of the operating system."""

Settings = TypeVar("Settings", bound=BaseSettings)
Work = Callable[[argparse.Namespace], int]
"""What a command does with its flags; it returns the exit status."""


def console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is: never as markup, and never broken into lines."""
    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)


def command_line(name: str, about: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """Return a parser for `python -m <name>`; the layout of `about` and `epilog` is kept."""
    return argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=about,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_command(commands: Any, name: str, about: str, work: Work) -> argparse.ArgumentParser:
    """Add a command to the subparsers of a command line."""
    made: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    made.set_defaults(work=work)
    return made


def add_settings(
    parser: argparse._ActionsContainer, settings: type[BaseSettings], names: Iterable[str] | None = None
) -> None:
    """Add a flag for each field of the settings, or for those named. What is not given on the command line is None."""
    for name in settings.model_fields if names is None else names:
        field = settings.model_fields[name]
        default = f" (default {field.default})" if field.default and not field.is_required() else ""
        kind: dict[str, Any] = (
            {"action": "store_true"} if field.annotation is bool else {"metavar": name.rpartition("_")[2].upper()}
        )
        parser.add_argument(f"--{name.replace('_', '-')}", default=None, help=f"{field.description}{default}", **kind)


def settings_of(settings: type[Settings], flags: argparse.Namespace) -> Settings:
    """Return the settings that the flags give, then the environment, then the defaults.

    Raises:
        SettingsError: a value is missing or cannot be used. The message names it and does not show it.
    """
    given = {name: value for name, value in vars(flags).items() if name in settings.model_fields and value is not None}
    try:
        return settings(**given)
    except ValidationError as error:
        raise SettingsError(f"settings: {explain(error)}; see --help for flags and variables") from error


def run(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, work: Work | None = None, failed: int = FAILED
) -> int:
    """Read a command line, do what it asks for, and return the exit status; what goes wrong is one line on stderr.

    Args:
        parser: of the command line.
        arguments: those of the process where None.
        work: is done; that of the command which was named where None.
        failed: the status for failures that are no fault of what was given.
    """
    flags = parser.parse_args(arguments)
    return ended(lambda: (work or flags.work)(flags), failed)


def ended(work: Callable[[], int], failed: int = FAILED) -> int:
    """Do a program's work and return its exit status; what goes wrong is one line on stderr.

    Args:
        work: returns the exit status of what did not raise.
        failed: the status for failures that are no fault of what was given.
    """
    try:
        return work()
    except ShelfbridgeError as error:
        console(stderr=True).print(f"error: {error}", style="red")
        return BAD_INPUT if isinstance(error, InvalidQuery | SettingsError | DataError) else failed
    except BrokenPipeError:  # who read our words has gone, as `head` does; Python would complain again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return failed
    except OSError as error:
        console(stderr=True).print(f"error: {explained(error)}", style="red")
        return failed
    except KeyboardInterrupt:
        console(stderr=True).print("stopped")
        return INTERRUPTED


@contextmanager
def ending(stopped: str, failed: str = "the same command goes on where this one ended") -> Iterator[None]:
    """End the program with one line on stderr, and status 1, where what is done within fails.

    Args:
        stopped: is said after Ctrl-C.
        failed: is said of an error of the machine's files.
    """
    try:
        yield
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    except OSError as error:
        if error.errno is None:
            raise
        raise SystemExit(f"error: {explained(error)}; {failed}") from error
    except KeyboardInterrupt:
        raise SystemExit(f"stopped; {stopped}") from None


def explained(error: OSError) -> str:
    """Return what the operating system refused, of which file, and what to do about it."""
    where = " to ".join(
        os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)
    )
    words = (os.strerror(error.errno) if error.errno else str(error)) or type(error).__name__
    cure = CURES.get(error.errno or 0, "see that the disk and the network are well, and try again")
    return f"{where + ': ' if where else ''}{words}; {cure}"


def told_to_stop() -> threading.Event:
    """Return what is set by SIGTERM and Ctrl-C from now on, for programs that finish what is under way first."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
