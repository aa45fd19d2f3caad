"""What the command lines have in common: how the server is reached, filters, and how a program ends."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from clients.settings import ClientSettings
from shelfbridge.errors import DataError, InvalidQuery, SettingsError, ShelfbridgeError
from shelfbridge.request import Filters, explain

OK, SOME_FAILED, BAD_INPUT, NO_ANSWER = 0, 1, 2, 3
"""Exit statuses."""
INTERRUPTED = 130
SETTING_FLAGS = ("address", "timeout", "retries", "token_file", "tls", "tls_root", "tls_cert", "tls_key")
VARIABLES = (
    "Every setting is an environment variable too: SHELFBRIDGE_ADDRESS, SHELFBRIDGE_TIMEOUT, … A flag goes before it."
)


def program(name: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """The parser of `python -m clients.<name>`."""
    return argparse.ArgumentParser(
        prog=f"python -m clients.{name}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_server(parser: argparse.ArgumentParser) -> None:
    """The flags that say where the server is."""
    server = parser.add_argument_group("the server")
    for name in SETTING_FLAGS:
        field = ClientSettings.model_fields[name]
        default = f" (default {field.default})" if field.default else ""
        kind: dict[str, Any] = (
            {"action": "store_true"} if name == "tls" else {"metavar": name.rpartition("_")[2].upper()}
        )
        server.add_argument(f"--{name.replace('_', '-')}", default=None, help=f"{field.description}{default}", **kind)


def settings_of(flags: argparse.Namespace) -> ClientSettings:
    """The settings that flags and environment give.

    Raises:
        SettingsError: a value cannot be used.
    """
    return ClientSettings.load(**{name: getattr(flags, name) for name in SETTING_FLAGS})


def ended(work: Callable[[], int], errors: Console) -> int:
    """Do a program's work; what goes wrong is one line and an exit status."""
    try:
        return work()
    except (InvalidQuery, SettingsError, DataError) as error:
        errors.print(f"error: {error}", style="red")
        return BAD_INPUT
    except ShelfbridgeError as error:
        errors.print(f"error: {error}", style="red")
        return NO_ANSWER
    except KeyboardInterrupt:
        return INTERRUPTED


def complaints() -> Console:
    """Where errors go: as they are, never as markup."""
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def parse_filters(pairs: Sequence[str]) -> Filters | None:
    """Filters from `field=value` pairs, each value read as its field's type.

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
