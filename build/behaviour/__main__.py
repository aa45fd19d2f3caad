"""A report of how shoppers behave, for the people who run the shop.

    python -m build.behaviour --interactions transactions.parquet --out behaviour

Chapters: the shop at a glance; segments by recency, frequency and value; buying again; what is bought together;
products that rise, fall or have a season; and who is likely to buy in the next days. Writes

    report.html      one file to read or send, plots inside
    figures.json     every figure of the page
    plots/*.png      the plots, for slides
    propensity.csv   number and probability of every shopper

Shoppers appear as numbers, in the order of their first interaction; their ids stay in the interactions' file. A file of
interactions (.parquet, .csv, .jsonl) has the columns user, product_id, time, and optionally basket, quantity, price and
title; or it is in the form of UCI Online Retail. It must cover five times the days of --horizon.
"""

import argparse
from pathlib import Path

from rich.console import Console

from build.behaviour.report import behaviour, write_report
from build.shelf.interactions import read
from shelfbridge.errors import ShelfbridgeError


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m build.behaviour", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--interactions", type=Path, required=True, metavar="FILE", help="what shoppers did")
    parser.add_argument(
        "--out", type=Path, default=Path("behaviour"), metavar="DIR", help="of the report (default: %(default)s)"
    )
    parser.add_argument(
        "--horizon",
        type=_days,
        default=30,
        metavar="DAYS",
        help="that purchases are foretold for (default: %(default)s)",
    )
    parser.add_argument("--name", default="the shop", help="what the page calls the shop (default: %(default)s)")
    parser.add_argument(
        "--currency", default="", metavar="SIGN", help="before sums of money, such as £ (default: none)"
    )
    options = parser.parse_args()
    console = Console()
    try:
        figures, forecast = behaviour(read(options.interactions), options.horizon, console)
        write_report(options.out, figures, forecast, options.name, options.currency)
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    console.print(f"{options.out / 'report.html'}: {_summary(figures)}", highlight=False, soft_wrap=True)


def _days(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 365:
        raise argparse.ArgumentTypeError(f"{text} is not a number of days from 1 to 365")
    return int(text)


def _summary(figures: dict[str, dict[str, object]]) -> str:
    shop, seen = figures["glance"], figures["propensity"]
    return (
        f"{shop['users']:,} shoppers, {shop['baskets']:,} baskets; {seen['days']}-day propensity by {seen['model']}, "
        f"{seen['calibration']} calibration, judged on {seen['known']:,} shoppers"
    )


if __name__ == "__main__":
    main()
