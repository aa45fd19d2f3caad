"""An evaluation as people look at it: Markdown, a plot, and the record as JSON."""

from typing import Any

from matplotlib.figure import Figure

from build.shelf.evaluate import OURS
from build.shelf.metrics import CUT, NAMES, PARTS
from shelfbridge.measure.report import BLUE, DIFFERENCE, ORANGE, Cell, Report, Table, bars, cell

LABELS = {"recall": f"recall@{CUT}", "ndcg": f"nDCG@{CUT}", "mrr": "MRR"}


def report(record: dict[str, Any]) -> Report:
    """Return the report of what `evaluate` found."""
    size = (12, 0.42 * len(record["intervals"]) + 1.3)
    return Report("recommend", record, _blocks(record), lambda figure: _draw(figure, record), size)


def _blocks(record: dict[str, Any]) -> list[str | Table]:
    windows, cases = record["windows"], record["cases"]
    against = [
        [part, *(cell(DIFFERENCE + " ({best})", row[name]) for name in NAMES)]
        for part, row in record["differences"].items()
    ]
    return [
        f"{record['interactions']:,} interactions of {record['users']:,} users with {record['products']:,} products. "
        f"What a shopper buys next, by what they did before it: {cases['test']:,} baskets from {windows['test']} to "
        f"{windows['end']} ({cases['strangers']:,} more are of strangers). All products are ranked. Settings were "
        f"chosen on the {cases['validation']:,} baskets before {windows['test']}, then all was fitted again to what "
        "came before that day. *New*: products that the shopper had not bought before, ranked without the others; "
        "*repeat*: those that they had.",
        _figures(record["test"]),
        "Shelf less the baseline that is best at the figure here, paired [95 % interval, bootstrap over users]:",
        Table(["", *LABELS.values()], against),
        "What the user encoder's score adds to the ranker's other signals, in recall@20: "
        + "; ".join(f"{part} {cell(DIFFERENCE, record['affinity'][part])}" for part in PARTS)
        + ".",
        _strangers(record["strangers"], cases["strangers"]),
        *_cold(record["cold"]),
        f"**On the validation window** ({windows['validation']} to {windows['test']}), where the settings were chosen:",
        _figures(record["validation"]),
        "Chosen: " + "; ".join(f"{name} {_setting(setting)}" for name, setting in record["chosen"].items()) + ".",
    ]


def _strangers(popular: dict[str, Any] | None, count: int) -> str:
    if popular is None:
        return ""
    figures = ", ".join(f"{LABELS[name]} {popular['overall'][name]:.3f}" for name in NAMES)
    return f"**Strangers** ({count:,} first baskets) see what is popular: {figures}."


def _cold(cold: dict[str, Any] | None) -> list[str | Table]:
    if cold is None:
        return []
    shown = {
        "user encoder, by the text's vector": cold["encoder"],
        "cosine with the history's texts": cold["texts"],
        "popular, own, co-occurrence, EASE, ALS": {"all": 0, "held": None},
        "chance": cold["chance"],
    }
    columns: dict[str, Cell] = {
        "": "{name}",
        "among all products not bought before": lambda row: f"{row['all']:.3f}" if row["all"] else "0",
        "among those held out": "{held:.3f}",
    }
    return [
        f"**Cold start**: {cold['products']:,} products were held out of all that training and histories know of; "
        f"{cold['cases']:,} baskets of the test window have one. Recall@{CUT} of these:",
        Table.of(columns, [{"name": name, **row} for name, row in shown.items()]),
    ]


def _figures(rows: dict[str, Any]) -> Table:
    """Return the figures of each contender, the best of each in bold."""
    best = {(part, name): max(row[part][name] for row in rows.values()) for part in PARTS for name in NAMES}

    def shown(row: dict[str, Any], part: str, name: str) -> str:
        text = f"{row[part][name]:.3f}"
        return f"**{text}**" if row[part][name] == best[part, name] else text

    head = ["", *(f"{part} {LABELS[name]}" for part, name in best), f"coverage@{CUT}"]
    lines = [[key, *(shown(row, *one) for one in best), f"{row['coverage']:.2f}"] for key, row in rows.items()]
    return Table(head, lines)


def _setting(setting: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in setting.items())


def _draw(figure: Figure, record: dict[str, Any]) -> None:
    """Recall of each contender with its interval, a panel a part."""
    names = list(record["intervals"])
    for axes, part in zip(figure.subplots(1, len(PARTS), sharey=True), PARTS, strict=True):
        colours = [ORANGE if name in OURS else BLUE for name in names]
        bars(axes, names, [record["intervals"][name][part] for name in names], colour=colours)
        axes.set_title(part)
        axes.set_xlabel(f"recall@{CUT}, 95 % interval")
