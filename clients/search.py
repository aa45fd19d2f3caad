"""The command line of Shelfbridge: one search for the eye, or a file of searches for evaluation."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from clients.batch import answer, is_word, read_queries, trec_lines, write_run
from clients.settings import ClientSettings
from clients.show import show
from shelfbridge.catalogue import Rejection
from shelfbridge.client import AsyncSearchClient, SearchClient
from shelfbridge.contract import DEFAULT_K, MAX_K
from shelfbridge.errors import ConnectionFailed, DataError, InvalidQuery, SearchError, SettingsError, ShelfbridgeError
from shelfbridge.request import Filters, explain

OK, SOME_FAILED, BAD_INPUT, NO_ANSWER = 0, 1, 2, 3
INTERRUPTED = 130

EXAMPLES = f"""\
examples:
  one search, as a table
    python -m clients.search "waterproof hiking boots"
  what must hold for each product
    python -m clients.search "boots" --filter category=Footwear --filter price_max=80 --filter in_stock=true
  through a gateway that wants TLS and a token, with one retry and 500 ms in all
    SHELFBRIDGE_TOKEN=… python -m clients.search "boots" --address shop.example:443 --tls-root ca.pem \\
        --timeout 0.5 --retries 1
  for another program
    python -m clients.search "boots" -k 50 --json | jq -r '.hits[].product_id'
  a file of id<tab>text lines to a TREC run
    python -m clients.search --queries queries.tsv -k {MAX_K} --run out.trec --concurrency 8

exit status:
  {OK}  answered
  {SOME_FAILED}  some lines or queries of a batch failed; the others are in the run
  {BAD_INPUT}  the arguments, the settings or the query cannot be used
  {NO_ANSWER}  the server gave no answer

Every setting is an environment variable too: SHELFBRIDGE_ADDRESS, SHELFBRIDGE_TIMEOUT, … A flag goes before it.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; the exit status is returned."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    _check_usage(parser, flags)
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        settings = ClientSettings.load(**{name: getattr(flags, name) for name in _SETTING_FLAGS})
        if flags.verbose or flags.queries:
            errors.print(settings.describe(), style="dim")
        return asyncio.run(_batch(flags, settings, errors)) if flags.queries else _single(flags, settings)
    except (InvalidQuery, SettingsError, DataError) as error:
        errors.print(f"error: {error}", style="red")
        return BAD_INPUT
    except ShelfbridgeError as error:
        errors.print(f"error: {error}", style="red")
        return NO_ANSWER
    except KeyboardInterrupt:
        return INTERRUPTED


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


def _single(flags: argparse.Namespace, settings: ClientSettings) -> int:
    filters = parse_filters(flags.filter)
    with SearchClient(**settings.client_arguments()) as client:
        result = client.search(flags.query, k=flags.k, filters=filters, user=flags.user, deep=flags.deep)
    if flags.json:
        sys.stdout.write(json.dumps(asdict(result), ensure_ascii=False, indent=2) + "\n")
    else:
        Console(highlight=False).print(show(result))
    return OK


async def _batch(flags: argparse.Namespace, settings: ClientSettings, errors: Console) -> int:
    queries, rejected = read_queries(flags.queries)
    if not flags.run.parent.is_dir():
        raise DataError(f"{flags.run}: no such folder; make {flags.run.parent} first")
    columns = (TextColumn("searching"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with AsyncSearchClient(**settings.client_arguments()) as client:
        if not await client.ready(deep=flags.deep):
            raise ConnectionFailed(f"{client.address} is not ready to search; start the server or wait for it")
        with Progress(*columns, console=errors, disable=not errors.is_terminal) as progress:
            bar = progress.add_task("", total=len(queries))
            answers = await answer(
                client,
                queries,
                k=flags.k,
                deep=flags.deep,
                concurrency=flags.concurrency,
                on_done=lambda: progress.advance(bar),
            )
    lines: list[str] = []
    failed = list(rejected)
    for query, found in answers.items():
        try:
            if isinstance(found, SearchError):
                raise found
            lines += trec_lines(query, found, flags.tag)
        except ShelfbridgeError as error:
            failed.append(Rejection(query.line, str(error)))
    for failure in sorted(failed, key=lambda failure: failure.line):
        errors.print(f"{flags.queries}, line {failure.line}: {failure.reason}", style="red")
    answered = len(queries) + len(rejected) - len(failed)
    if answered:
        write_run(flags.run, lines)
    errors.print(f"{answered} queries answered, {len(failed)} failed" + (f": {flags.run}" if answered else ""))
    return SOME_FAILED if failed else OK


_SETTING_FLAGS = ("address", "timeout", "retries", "token_file", "tls", "tls_root", "tls_cert", "tls_key")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m clients.search",
        description="Search the products that a Shelfbridge server knows.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("query", nargs="?", help="what a shopper would write")
    parser.add_argument(
        "-k", type=int, default=DEFAULT_K, help=f"how many products, 1 to {MAX_K} (default {DEFAULT_K})"
    )
    parser.add_argument("--deep", action="store_true", help="let the cross-encoder read the best few too (slower)")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the settings first, secrets redacted")

    one = parser.add_argument_group("one search")
    one.add_argument(
        "--filter", action="append", default=[], metavar="FIELD=VALUE", help=", ".join(Filters.model_fields)
    )
    one.add_argument("--user", help="an opaque key of the shopper, for personal steps")
    one.add_argument("--json", action="store_true", help="print the result as one JSON object")

    many = parser.add_argument_group("a file of searches")
    many.add_argument("--queries", type=Path, metavar="TSV", help="lines of id<tab>text")
    many.add_argument("--run", type=Path, metavar="OUT", help="TREC run to write")
    many.add_argument(
        "--concurrency", type=int, default=4, metavar="N", help="searches under way at a time (default 4)"
    )
    many.add_argument("--tag", default="shelfbridge", help="the run's name in its last column (default shelfbridge)")

    server = parser.add_argument_group("the server")
    for name in _SETTING_FLAGS:
        field = ClientSettings.model_fields[name]
        default = f" (default {field.default})" if field.default else ""
        kind: dict[str, Any] = (
            {"action": "store_true"} if name == "tls" else {"metavar": name.rpartition("_")[2].upper()}
        )
        server.add_argument(f"--{name.replace('_', '-')}", default=None, help=f"{field.description}{default}", **kind)
    return parser


def _check_usage(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> None:
    if (flags.query is None) == (flags.queries is None):
        parser.error("give either a query or --queries FILE")
    if flags.queries is None and flags.run is not None:
        parser.error("--run goes with --queries")
    if flags.queries is not None:
        if flags.run is None:
            parser.error("--queries needs --run OUT, the file to write")
        if flags.filter or flags.user is not None or flags.json:
            parser.error("--filter, --user and --json go with one query, not with --queries")
        if flags.concurrency < 1:
            parser.error("--concurrency: give 1 or more")
        if not is_word(flags.tag):
            parser.error("--tag: give one word")


if __name__ == "__main__":
    sys.exit(main())
