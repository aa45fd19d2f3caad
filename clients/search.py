"""The command line of Shelfbridge: one search for the eye, or a file of searches for evaluation."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from clients.batch import answer, is_word, read_queries, trec_lines, write_run
from clients.program import (
    VARIABLES,
    ClientSettings,
    add_k,
    add_result,
    add_server,
    add_user_token,
    parse_filters,
    print_result,
    progress,
)
from clients.show import show
from shelfbridge.client import AsyncSearchClient, SearchClient
from shelfbridge.contract import MAX_K
from shelfbridge.errors import ConnectionFailed, DataError, SearchError, ShelfbridgeError
from shelfbridge.program import BAD_INPUT, FAILED, OK, UNAVAILABLE, command_line, console, run, settings_of

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
  {FAILED}  some lines or queries of a batch failed; the others are in the run
  {BAD_INPUT}  the arguments, the settings or the query cannot be used
  {UNAVAILABLE}  the server gave no answer

{VARIABLES}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; the exit status is returned."""
    parser = command_line("clients.search", "Search the products that a Shelfbridge server knows.", EXAMPLES)
    parser.add_argument("query", nargs="?", help="what a shopper would write")
    add_k(parser)
    parser.add_argument("--deep", action="store_true", help="let the cross-encoder read the best few too (slower)")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the settings first, secrets redacted")

    one = parser.add_argument_group("one search")
    add_result(one)
    one.add_argument("--user", help="the shop's id of the shopper; looked up with --personal only")
    one.add_argument("--personal", action="store_true", help="let what --user did lately move the order")
    add_user_token(one)

    many = parser.add_argument_group("a file of searches")
    many.add_argument("--queries", type=Path, metavar="TSV", help="lines of id<tab>text")
    many.add_argument("--run", type=Path, metavar="OUT", help="TREC run to write")
    many.add_argument(
        "--concurrency", type=int, default=4, metavar="N", help="searches under way at a time (default 4)"
    )
    many.add_argument("--tag", default="shelfbridge", help="the run's name in its last column (default shelfbridge)")

    add_server(parser)

    def work(flags: argparse.Namespace) -> int:
        _check_usage(parser, flags)
        settings = settings_of(ClientSettings, flags)
        if flags.verbose or flags.queries:
            console(stderr=True).print(settings.describe(), style="dim")
        return asyncio.run(_batch(flags, settings)) if flags.queries else _single(flags, settings)

    return run(parser, arguments, work, UNAVAILABLE)


def _single(flags: argparse.Namespace, settings: ClientSettings) -> int:
    filters = parse_filters(flags.filter)
    with SearchClient(**settings.client_arguments()) as client:
        result = client.search(
            flags.query,
            k=flags.k,
            filters=filters,
            user=flags.user,
            deep=flags.deep,
            personal=flags.personal,
            user_token=flags.user_token,
        )
    print_result(result, show(result), as_json=flags.json)
    return OK


async def _batch(flags: argparse.Namespace, settings: ClientSettings) -> int:
    errors = console(stderr=True)
    queries, rejected = read_queries(flags.queries)
    if not flags.run.parent.is_dir():
        raise DataError(f"{flags.run}: no such folder; make {flags.run.parent} first")
    async with AsyncSearchClient(**settings.client_arguments()) as client:
        if not await client.ready(deep=flags.deep):
            raise ConnectionFailed(f"{client.address} is not ready to search; start the server or wait for it")
        with progress("searching", errors) as shown:
            bar = shown.add_task("", total=len(queries))
            answers = await answer(
                client,
                queries,
                k=flags.k,
                deep=flags.deep,
                concurrency=flags.concurrency,
                on_done=lambda: shown.advance(bar),
            )
    lines: list[str] = []
    failed = dict(rejected)
    for query, found in answers.items():
        try:
            if isinstance(found, SearchError):
                raise found
            lines += trec_lines(query, found, flags.tag)
        except ShelfbridgeError as error:
            failed[query.line] = str(error)
    for line, reason in sorted(failed.items()):
        errors.print(f"{flags.queries}, line {line}: {reason}", style="red")
    answered = len(queries) + len(rejected) - len(failed)
    if answered:
        write_run(flags.run, lines)
    errors.print(f"{answered} queries answered, {len(failed)} failed" + (f": {flags.run}" if answered else ""))
    return FAILED if failed else OK


def _check_usage(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> None:
    if (flags.query is None) == (flags.queries is None):
        parser.error("give either a query or --queries FILE")
    if flags.queries is None and flags.run is not None:
        parser.error("--run goes with --queries")
    if flags.queries is not None:
        if flags.run is None:
            parser.error("--queries needs --run OUT, the file to write")
        if flags.filter or flags.user is not None or flags.personal or flags.json:
            parser.error("--filter, --user, --personal and --json go with one query, not with --queries")
        if flags.concurrency < 1:
            parser.error("--concurrency: give 1 or more")
        if not is_word(flags.tag):
            parser.error("--tag: give one word")


if __name__ == "__main__":
    sys.exit(main())
