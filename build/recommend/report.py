"""An evaluation as people look at it: Markdown, a plot, and the record as JSON."""

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from build.recommend.metrics import CUT, NAMES, PARTS

LABELS = {"recall": f"recall@{CUT}", "ndcg": f"nDCG@{CUT}", "mrr": "MRR"}
OURS = ("user encoder", "shelf without affinity", "shelf")


def write_report(folder: Path, record: dict[str, Any]) -> None:
    """Write `recommend.json`, `recommend.md` and `recommend.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recommend.json").write_text(json.dumps(record, indent=2) + "\n")
    (folder / "recommend.md").write_text(table(record))
    plot(folder / "recommend.png", record)


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    windows, cases = record["windows"], record["cases"]
    lines = [
        f"{record['interactions']:,} interactions of {record['users']:,} users with {record['products']:,} products. "
        f"What a shopper buys next, by what they did before it: {cases['test']:,} baskets from {windows['test']} to "
        f"{windows['end']} ({cases['strangers']:,} more are of strangers). All products are ranked. Settings were "
        f"chosen on the {cases['validation']:,} baskets before {windows['test']}, then all was fitted again to what "
        "came before that day. *New*: products that the shopper had not bought before, ranked without the others; "
        "*repeat*: those that they had.",
        "",
        *_figures(record["test"]),
        "",
        "Shelf less the baseline that is best at the figure here, paired [95 % interval, bootstrap over users]:",
        "",
        f"| | {' | '.join(LABELS[name] for name in NAMES)} |",
        "|---|" + "---|" * len(NAMES),
        *[
            f"| {part} | {' | '.join(_against(record['differences'][part][name]) for name in NAMES)} |"
            for part in PARTS
        ],
        "",
        "What the user encoder's score adds to the ranker's other signals, in recall@20: "
        + "; ".join(f"{part} {_difference(record['affinity'][part])}" for part in PARTS)
        + ".",
        "",
        *_strangers(record["strangers"], cases["strangers"]),
        *_cold(record["cold"]),
        f"**On the validation window** ({windows['validation']} to {windows['test']}), where the settings were chosen:",
        "",
        *_figures(record["validation"]),
        "",
        "Chosen: " + "; ".join(f"{name} {_setting(setting)}" for name, setting in record["chosen"].items()) + ".",
    ]
    return "\n".join(lines) + "\n"


def _strangers(popular: dict[str, Any] | None, count: int) -> list[str]:
    if popular is None:
        return []
    overall = popular["overall"]
    return [
        f"**Strangers** ({count:,} first baskets) see what is popular: "
        + ", ".join(f"{LABELS[name]} {overall[name]:.3f}" for name in NAMES)
        + ".",
        "",
    ]


def _cold(cold: dict[str, Any] | None) -> list[str]:
    if cold is None:
        return []
    return [
        f"**Cold start**: {cold['products']:,} products were held out of all that training and histories know of; "
        f"{cold['cases']:,} baskets of the test window have one. Recall@{CUT} of these:",
        "",
        "| | among all products not bought before | among those held out |",
        "|---|---|---|",
        f"| user encoder, by the text's vector | {cold['encoder']['all']:.3f} | {cold['encoder']['held']:.3f} |",
        f"| cosine with the history's texts | {cold['texts']['all']:.3f} | {cold['texts']['held']:.3f} |",
        "| popular, own, co-occurrence, EASE, ALS | 0 | |",
        f"| chance | {cold['chance']['all']:.3f} | {cold['chance']['held']:.3f} |",
        "",
    ]


def _figures(rows: dict[str, Any]) -> list[str]:
    columns = [(part, name) for part in PARTS for name in NAMES]
    best = {column: max(row[column[0]][column[1]] for row in rows.values()) for column in columns}
    return [
        f"| | {' | '.join(f'{part} {LABELS[name]}' for part, name in columns)} | coverage@{CUT} |",
        "|---|" + "---|" * (len(columns) + 1),
        *[
            f"| {name} | "
            + " | ".join(_marked(row[part][figure], best[part, figure]) for part, figure in columns)
            + f" | {row['coverage']:.2f} |"
            for name, row in rows.items()
        ],
    ]


def _marked(value: float, best: float) -> str:
    return f"**{value:.3f}**" if value == best else f"{value:.3f}"


def _against(figure: dict[str, Any]) -> str:
    return f"{_difference(figure)} ({figure['best']})"


def _difference(figure: dict[str, Any]) -> str:
    return f"{figure['difference']:+.4f} [{figure['low']:+.4f}, {figure['high']:+.4f}]"


def _setting(setting: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in setting.items())


def plot(path: Path, record: dict[str, Any]) -> None:
    """Recall of each contender with its interval, a panel a part."""
    names = list(record["intervals"])
    drawing, panels = pyplot.subplots(
        1, len(PARTS), figsize=(12, 0.42 * len(names) + 1.3), sharey=True, layout="constrained"
    )
    for axes, part in zip(panels, PARTS, strict=True):
        figures = [record["intervals"][name][part] for name in names]
        means = [figure["mean"] for figure in figures]
        errors = [
            [figure["mean"] - figure["low"] for figure in figures],
            [figure["high"] - figure["mean"] for figure in figures],
        ]
        colours = ["#f58518" if name in OURS else "#4c78a8" for name in names]
        axes.barh(names, means, xerr=errors, color=colours, ecolor="#555555", capsize=2)
        axes.set_title(part)
        axes.set_xlabel(f"recall@{CUT}, 95 % interval")
        for place, mean in enumerate(means):
            axes.text(0.01 * max(means), place, f"{mean:.3f}", va="center", color="white", fontsize=8)
    panels[0].invert_yaxis()
    drawing.savefig(path, dpi=120)
    pyplot.close(drawing)
