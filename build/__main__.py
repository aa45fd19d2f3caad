"""From a catalogue and judgments to a release that Triton serves.

    python -m build --catalogue products.jsonl --judgments judgments.tsv --out out

The catalogue is a .csv, .tsv, .jsonl or .parquet file; it needs product_id and title, and may have brand, color,
bullet_points, description, category ("Sports > Tents"), price, stock, rating and rating_count. Judgments need
query_id, query, product_id and label (E exact, S substitute, C complement, I irrelevant), and may have split
(train, dev, test). Dev chooses; the figures at the end are those of test, which chooses nothing. A split that the file
does not name is set apart by a hash of the queries' text (`build.splits`), and the build says so.

With --interactions the release has shelves too: a file of what shoppers bought with user, product_id and time (seconds
since 1970 or ISO 8601), and basket, quantity, price where they are known; six weeks at least.

Stages: encoder -> its ONNX graph -> index -> cross-encoder -> ranker -> students -> int8 and fp16 -> gate -> shelf ->
release -> evaluation. Each skips what is unchanged, so a second run takes seconds and an interrupted one goes on where
it stopped. A student or an int8 form that loses more nDCG@10 than the budget is left out, and its original is served;
the manifest says so. A learned order is served only as far as dev can tell that it is better than the fusion's.
"""

import argparse
from functools import partial
from pathlib import Path

from rich.console import Console

from build import evaluate
from build.inputs import add_arguments, read_shop
from build.pipeline import build
from build.stages import Shop
from build.workspace import Workspace
from shelfbridge.catalogue import Split
from shelfbridge.errors import ShelfbridgeError


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    options = parser.parse_args()
    console = Console()
    try:
        shop = read_shop(options, console)
        made = build(options.out, shop)
        console.print(measured(options.out, shop, made), highlight=False)
    except ShelfbridgeError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on where this one ended") from None
    console.print(f"release: {made}")


def measured(out: Path, shop: Shop, made: Path) -> str:
    """The release's figures on the test split, or on dev where there is none, as a table."""
    split: Split = "test" if shop.judgments.of("test").rows else "dev"
    folder = Workspace(out / "stages", shop.console).stage(
        "evaluation",
        partial(evaluate.evaluate, release=made, split=split, console=shop.console, **shop.known),
        data=shop.data,
        release=made / "manifest.json",
    )
    return (folder / "evaluation.md").read_text()


if __name__ == "__main__":
    main()
