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

from build.behaviour.report import behaviour, write_report
from build.shelf.interactions import read
from shelfbridge import program


def main() -> int:
    """Run the command line and return its exit status."""
    parser = program.command_line("build.behaviour", __doc__ or "")
    parser.add_argument("--interactions", type=Path, required=True, metavar="FILE", help="what shoppers did")
    parser.add_argument("--out", type=Path, default=Path("behaviour"), metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--horizon",
        type=_days,
        default=30,
        metavar="DAYS",
        help="that purchases are foretold for (default: %(default)s)",
    )
    parser.add_argument("--name", default="the shop", help="what the page calls the shop (default: %(default)s)")
    parser.add_argument("--currency", default="", metavar="SIGN", help="before sums of money, such as £")
    options = parser.parse_args()
    return program.ended(lambda: _report(options))


def _report(options: argparse.Namespace) -> int:
    console = program.console()
    figures, forecast = behaviour(read(options.interactions), options.horizon, console)
    write_report(options.out, figures, forecast, options.name, options.currency)
    shop, seen = figures["glance"], figures["propensity"]
    console.print(
        f"{options.out / 'report.html'}: {shop['users']:,} shoppers, {shop['baskets']:,} baskets; {seen['days']}-day "
        f"propensity by {seen['model']}, {seen['calibration']} calibration, judged on {seen['known']:,} shoppers"
    )
    return program.OK


def _days(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 365:
        raise argparse.ArgumentTypeError(f"{text} is not a number of days from 1 to 365")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
