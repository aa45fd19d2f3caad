"""From a catalogue and judgments to a release that Triton serves.

    python -m build --catalogue products.jsonl --judgments judgments.tsv --out out

The catalogue is a .csv, .tsv, .jsonl or .parquet file; it needs product_id and title, and may have brand, color,
bullet_points, description, category ("Sports > Tents"), price, stock, rating and rating_count. Judgments need
query_id, query, product_id and label (E exact, S substitute, C complement, I irrelevant), and may have split
(train, dev, test). Dev chooses; the figures at the end are those of test, which chooses nothing. A split that the file
does not name is set apart by a hash of the queries' text (`build.data.splits`), and the build says so.

With --interactions the release has shelves too: a file of what shoppers bought with user, product_id and time (seconds
since 1970 or ISO 8601), and basket, quantity, price where they are known; six weeks at least.

Stages: encoder -> its ONNX graph -> index -> cross-encoder -> ranker -> students -> int8 and fp16 -> gate -> shelf ->
evaluation -> release. Each skips what is unchanged, so a second run takes seconds and an interrupted one goes on where
it stopped; --list shows how they stand, --why what a stage would run again for, --from runs one and all after it again.
A changed price trains nothing. A student or an int8 form that loses more nDCG@10 than the budget is left out, and its
original is served; the manifest says so. A learned order is served only as far as dev can tell that it is better than
the fusion's.

`python -m build diff A B` shows what is another in release B than in release A: figures, data, settings, decisions.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from build.inputs import add_arguments, check_writable, given_by, read_shop
from build.pipeline import Plan, build, check_name, names
from build.workspace import State, Workspace
from shelfbridge.changes import identity
from shelfbridge.program import command_line, ending


def main() -> None:
    """The command line."""
    parser = command_line("build", __doc__ or "")
    add_arguments(parser)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="show the stages and how they stand; run nothing")
    instead.add_argument("--why", metavar="STAGE", help="show what changed since the stage's last result; run nothing")
    instead.add_argument("--from", dest="again", metavar="STAGE", help="run this stage and all after it again")
    differ = sys.argv[1:2] == ["diff"]
    options = argparse.Namespace(again=None) if differ else parser.parse_args()
    same = "the same command without --from" if options.again else "the same command"
    with ending(f"{same} goes on where this one ended", f"{same} goes on where this one ended"):
        if differ:
            print(_diff(sys.argv[2:]), end="")
        else:
            _run(options)


def _diff(arguments: list[str]) -> str:
    parser = command_line("build diff", "What is another in a release than in an earlier one: figures, data, settings.")
    parser.add_argument("before", type=Path, help="folder of a release, as out/releases/3")
    parser.add_argument("after", type=Path, help="folder of another")
    options = parser.parse_args(arguments)
    for folder in (options.before, options.after):
        identity(folder)  # a folder that is no release is told at once
    from build.release.record import compared  # takes seconds to import

    return compared(options.before, options.after)


def _run(options: argparse.Namespace) -> None:
    console, given = Console(), given_by(options)
    if name := options.why or options.again:
        check_name(name, names(given.settings, shelf=given.interactions is not None))
    if not (options.list or options.why):
        check_writable(given.out)
    shop = read_shop(given, console)
    if options.list or options.why:
        states = list(Workspace(given.out / "stages", console).states(Plan.of(shop).all).values())
        text = listed(states) if options.list else told(states, options.why)
        console.print(text, soft_wrap=True, highlight=False, markup=False)
    else:
        made, figures = build(given.out, shop, options.again)
        console.print(figures, highlight=False)
        console.print(f"release: {made}")


def listed(states: list[State]) -> str:
    """Stages, their versions, and how they stand, a line for each."""
    width = max(len(state.stage.name) for state in states)
    lines = []
    for state in states:
        first, *others = state.reasons or ("",)
        more = f" (and {len(others)} more: --why {state.stage.name})" if others else ""
        how = f"to be made: {first}{more}" if first else "unchanged"
        lines.append(f"{state.stage.name:{width}}  v{state.stage.version}  {how}")
    return "\n".join(lines)


def told(states: list[State], name: str) -> str:
    """Why a stage would run, a line for each reason."""
    (state,) = (one for one in states if one.stage.name == name)
    if state.folder is not None:
        return f"{name} is unchanged: {state.folder}"
    return "\n".join([f"{name} is to be made:", *(f"  {reason}" for reason in state.reasons)])


if __name__ == "__main__":
    main()
