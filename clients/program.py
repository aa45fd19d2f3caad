"""What the command lines that ask a server have in common: how it is reached, filters, and what is printed."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, TypeAdapter, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from shelfbridge import program
from shelfbridge.client import TLS, SearchResult, ShelfResult
from shelfbridge.contract import DEFAULT_K, MAX_K
from shelfbridge.errors import SettingsError
from shelfbridge.request import Filters, explain

VARIABLES = (
    "Every setting is an environment variable too: SHELFBRIDGE_ADDRESS, SHELFBRIDGE_TIMEOUT, … A flag goes before it."
)


class ClientSettings(BaseSettings):
    """Each field is an environment variable too (SHELFBRIDGE_ADDRESS, …); flags go before it."""

    model_config = SettingsConfigDict(env_prefix="SHELFBRIDGE_", frozen=True)

    address: str = Field("localhost:8001", description="host:port of the server's or the gateway's gRPC endpoint")
    timeout: float = Field(2.0, gt=0, description="seconds that a search may take, retries included")
    retries: int = Field(2, ge=0, description="how often to ask again when the server is unavailable")
    token: SecretStr | None = Field(None, description="proof of identity; no flag, so that no process list shows it")
    token_file: Path | None = Field(None, description="file that holds the token; goes before SHELFBRIDGE_TOKEN")
    tls: bool = Field(False, description="encrypt; so does any of the following three")
    tls_root: Path | None = Field(None, description="PEM file of the authorities to trust")
    tls_cert: Path | None = Field(None, description="PEM file of the client's own certificate")
    tls_key: Path | None = Field(None, description="PEM file of that certificate's key")

    def client_arguments(self) -> dict[str, Any]:
        """The arguments of `SearchClient` and `AsyncSearchClient`.

        Raises:
            SettingsError: the token file cannot be read.
        """
        files = (self.tls_root, self.tls_cert, self.tls_key)
        encrypted = self.tls or any(files)
        return {
            "address": self.address,
            "timeout": self.timeout,
            "retries": self.retries,
            "token": self._token(),
            "tls": TLS(root=self.tls_root, certificate=self.tls_cert, key=self.tls_key) if encrypted else None,
        }

    def describe(self) -> str:
        """One line for the start of a program, secrets redacted."""
        return " ".join(f"{name}={value}" for name, value in self.model_dump().items() if value is not None)

    def _token(self) -> str | None:
        if self.token_file is None:
            return self.token.get_secret_value() if self.token else None
        try:
            return self.token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise SettingsError(f"token file {self.token_file}: {reason}; give a readable file") from error


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


def progress(doing: str, errors: Console) -> Progress:
    """Return a bar on stderr for so many of so many; nothing where nobody looks."""
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=errors, disable=not errors.is_terminal)


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
