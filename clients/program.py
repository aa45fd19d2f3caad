"""What the command lines that ask a server have in common: how it is reached, filters, and what is printed."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError
from rich.console import Console, RenderableType

from clients.settings import ClientSettings
from shelfbridge import program
from shelfbridge.client import SearchResult, ShelfResult
from shelfbridge.contract import DEFAULT_K, MAX_K
from shelfbridge.errors import SettingsError
from shelfbridge.request import Filters, explain

VARIABLES = (
    "Every setting is an environment variable too: SHELFBRIDGE_ADDRESS, SHELFBRIDGE_TIMEOUT, … A flag goes before it."
)


def add_server(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where the server is; the token has none, so that no process list shows it."""
    names = [name for name in ClientSettings.model_fields if name != "token"]
    program.add_settings(parser.add_argument_group("the server"), ClientSettings, names)


def add_k(parser: argparse.ArgumentParser) -> None:
    """Add the flag that says how many products are wanted."""
    parser.add_argument(
        "-k", type=int, default=DEFAULT_K, help=f"how many products, 1 to {MAX_K} (default %(default)s)"
    )


def add_user_token(parser: argparse._ActionsContainer) -> None:
    """Add the flag that proves who the user is."""
    parser.add_argument("--user-token", metavar="TOKEN", help="proof that it is them, where the server asks for it")


def add_result(parser: argparse._ActionsContainer) -> None:
    """Add the flags of one result: its filters, and its form."""
    known = ", ".join(Filters.model_fields)
    parser.add_argument("--filter", action="append", default=[], metavar="FIELD=VALUE", help=known)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def client_arguments(flags: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of a client, from flags and environment.

    Raises:
        SettingsError: a value cannot be used.
    """
    return program.settings_of(ClientSettings, flags).client_arguments()


def print_result(result: SearchResult | ShelfResult, shown: RenderableType, *, as_json: bool) -> None:
    """Print a result for the eye, or for another program."""
    if as_json:
        print_json(asdict(result))
    else:
        Console(highlight=False).print(shown)


def print_json(value: Any) -> None:
    """Print a value as JSON, text as it is."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def parse_filters(pairs: Sequence[str]) -> Filters | None:
    """Return filters from `field=value` pairs, each value read as its field's type; None without a pair.

    Raises:
        SettingsError: a pair has no `=`, the field is unknown or given twice, or the value is of another type.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        field = Filters.model_fields.get(name)
        if not equals or field is None or name in values:
            known = ", ".join(Filters.model_fields)
            raise SettingsError(f"--filter {pair}: give field=value, each field once; known fields: {known}")
        try:
            annotation: Any = field.annotation
            values[name] = TypeAdapter(annotation).validate_python(value)
        except ValidationError as error:
            raise SettingsError(f"--filter {pair}: {error.errors()[0]['msg']}") from error
    try:
        return Filters(**values) if values else None
    except ValidationError as error:
        raise SettingsError(f"--filter: {explain(error)}") from error
