"""What the measuring programs have in common: their command line and how they end."""

import argparse
import math
import signal
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from shelfbridge import program
from shelfbridge.errors import ShelfbridgeError
from shelfbridge.request import explain

Model = TypeVar("Model", bound=BaseModel)


def command_line(name: str, about: str | None) -> argparse.ArgumentParser:
    """Return a parser for `python -m loadtests.<name>`, which its module's docstring explains."""
    return program.command_line(f"loadtests.{name}", about or "")


def read_model(model: type[Model], path: Path, failure: type[ShelfbridgeError], cure: str) -> Model:
    """Read a TOML or JSON file.

    Raises:
        ShelfbridgeError: of the kind `failure`, ends with `cure`: the file cannot be read, or a value cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            return model.model_validate(tomllib.loads(text))
        return model.model_validate_json(text)
    except ValidationError as error:
        raise failure(f"{path}: {explain(error)}; {cure}") from error
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise failure(f"{path}: {getattr(error, 'strerror', None) or error}; {cure}") from error


def add_shop(parser: argparse.ArgumentParser) -> None:
    """The arguments of a program that serves a release and searches it."""
    parser.add_argument("--release", type=Path, required=True, help="folder of a release; it stays as it is")
    parser.add_argument("--catalogue", type=Path, required=True, help="what it was built from")
    parser.add_argument("--judgments", type=Path, required=True, help="their queries are searched")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report and the server's log")


def count(text: str) -> int:
    """A whole number above 0, as argparse reads it."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def amount(text: str) -> float:
    """A number above 0, as argparse reads it."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def flags(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """What the command line changes, files and folders left out."""
    words = []
    for name, value in vars(options).items():
        if value == parser.get_default(name) or isinstance(value, Path):
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words += map(str, value) if isinstance(value, list) else [str(value)]
    return " ".join(words)


def reason(error: BaseException) -> str:
    """Return an error's message without the id of its request, so that errors of one cause are told alike."""
    return str(error).removesuffix(f" (request {getattr(error, 'request_id', None)})")


@contextmanager
def ending(stopped: str) -> Iterator[None]:
    """End a program as its user expects: errors in a line, and Ctrl-C, SIGTERM and SIGHUP with its servers down.

    Args:
        stopped: what is left of it, said where it was interrupted or an error ended it.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, signal.default_int_handler)
    with program.ending(stopped, stopped):
        yield
