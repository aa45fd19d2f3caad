"""Both frontiers as people look at them, networks and stored token vectors: tables in Markdown, and a plot each."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from shelfbridge.contract import STORED_TOKENS, TOKEN_WIDTH
from shelfbridge.measure.report import BLUE, GREEN, ORANGE, RED, Cell, Report, Table, cell, notes, reach

TITLES = {"encoder": "Encoder of queries", "ranker": "Ranker", "cross_encoder": "Cross-encoder"}
COLOURS = {"fp32": BLUE, "int8": ORANGE, "fp16": GREEN}
KINDS = {
    "nothing": "#333333",
    "width": BLUE,
    "bits": ORANGE,
    "tokens, by position": GREEN,
    "tokens, by rarity": "#b279a2",
    "several": RED,
}
"""Colours of what a variant of the token vectors has less of."""
CHANGE = "{difference:+.4f} [{low:+.3f}, {high:+.3f}]"
OVER_BASELINE = "{over_baseline:+.3f} [{low:+.3f}, {high:+.3f}]"


def networks_report(record: dict[str, Any]) -> Report:
    """The report of all candidates: `frontier.json`, `.md` and `.png`."""
    blocks: list[str | Table] = [
        f"{record['dev']} dev queries, and {record['all'] - record['dev']} of train that no compression step saw "
        f"(together: panel); {record['products']:,} products. "
        "Differences of nDCG@10 are paired with the fp32 teacher [95 % interval]; τ is Kendall's with the teacher's "
        f"order of its ten first; times are of {record['cores']} cores, one request alone (p50) and all cores busy. "
        f"**Chosen**: the quickest that loses at most {record['budget']} on dev and on the panel.",
    ]
    columns: dict[str, Cell] = {
        "candidate": "{name}, {precision}",
        "dev nDCG@10": "{dev[served]:.3f}",
        "difference on dev": lambda row: cell(CHANGE, row["dev"]),
        "on the panel": lambda row: cell(CHANGE, row["all"]),
        "alone": "{alone:.3f}",
        "τ@10": "{tau:.2f}",
        "M multiply-adds": lambda row: f"{row['multiply_adds'] / 1e6:.1f}" if row["multiply_adds"] else "",
        "MB": "{megabytes:.1f}",
        "ms": "{ms:.2f}",
        "per s": "{per_second:.0f}",
        "": lambda row: f"**{marks}**" if (marks := _marks(row)) else "",
    }
    for network, title in TITLES.items():
        shown = {head: form for head, form in columns.items() if head != "alone" or network == "cross_encoder"}
        blocks += [f"**{title}** (layers x heads x neurons)", Table.of(shown, _of(record, network))]
    blocks.append("\n".join(f"Refused: {reason}." for reason in record["refused"]))
    blocks += ["**Stored token vectors**", *tokens_report(record["tokens"]).blocks]
    return Report("frontier", record, blocks, lambda figure: _draw_networks(figure, record), (13, 4.2))


def summary(record: dict[str, Any]) -> str:
    """Return, of each network, the fp32 teacher, what was chosen, and what the build's preset serves."""
    shown = []
    for network, title in TITLES.items():
        teacher, *others = _of(record, network)
        for row in (teacher, *(row for row in others if _marks(row))):
            less = teacher["multiply_adds"] / row["multiply_adds"] if row["multiply_adds"] else None
            shown.append({**row, "title": title, "is_teacher": row is teacher, "less": less})

    def change(part: str) -> Cell:
        return lambda row: "" if row["is_teacher"] else cell(CHANGE, row[part])

    columns: dict[str, Cell] = {
        "network": "{title}",
        "candidate": "{name}, {precision}",
        "dev nDCG@10": "{dev[served]:.3f}",
        "less the teacher's": change("dev"),
        "on the panel": change("all"),
        "multiply-adds": lambda row: f"1/{row['less']:.1f}" if row["less"] else "",
        "MB": "{megabytes:.1f}",
        "ms": "{ms:.2f}",
        "per s": "{per_second:.0f}",
        "": _marks,
    }
    return f"{Table.of(columns, shown)}\n"


def _of(record: dict[str, Any], network: str) -> list[dict[str, Any]]:
    return [row for row in record["rows"] if row["network"] == network]


def _marks(row: dict[str, Any]) -> str:
    return ", ".join(name for name in ("chosen", "served") if row[name])


def _draw_networks(figure: Figure, record: dict[str, Any]) -> None:
    """Difference of nDCG@10 on all judged queries against milliseconds, a panel a network."""
    panels = figure.subplots(1, len(TITLES))
    for axes, (network, title) in zip(panels, TITLES.items(), strict=True):
        rows = [row for row in _of(record, network) if row["ms"]]
        for precision, colour in COLOURS.items():
            some = [row for row in rows if row["precision"] == precision]
            changes = [row["all"] for row in some]
            if some:
                axes.errorbar(
                    [row["ms"] for row in some],
                    [change["difference"] for change in changes],
                    yerr=reach(changes, "difference"),
                    fmt="o",
                    color=colour,
                    capsize=2,
                    label=precision,
                )
        places = [(row["ms"], row["all"]["difference"]) for row in rows]
        notes(axes, places, [row["name"] + " *" * row["chosen"] for row in rows], size=7)
        axes.axhline(-record["budget"], color="#999999", linestyle=":")
        axes.axhline(0, color="#999999", linewidth=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.15)
        axes.set_xlabel("ms, one request alone")
        axes.set_title(title)
        axes.legend(loc="lower right")
    panels[0].set_ylabel("nDCG@10 less the fp32 teacher's, on the panel")


def tokens_report(record: dict[str, Any]) -> Report:
    """The report of the stored token vectors: `token_frontier.json`, `.md` and `.png`."""
    queries, budget = record["queries"], record["budget"]

    def name(row: dict[str, Any]) -> str:
        mark = "**" * (row["name"] == record["chosen"]) + "_" * (row["name"] == record["proven"])
        return str(mark + row["name"] + mark[::-1])

    columns: dict[str, Cell] = {
        "stored": name,
        "nDCG@10 dev": "{dev[mean]:.3f}",
        "difference on dev": lambda row: cell(OVER_BASELINE, row["dev"]),
        "cross-validated": "{validated[mean]:.3f}",
        "difference": lambda row: cell(OVER_BASELINE, row["validated"]),
        "tau@10": "{tau:.2f}",
        "bytes/product": "{bytes_per_product:,.0f}",
        "MB": "{megabytes:.1f}",
        "time": "{milliseconds:.2f} ms ({times_baseline:.2f})",
    }
    blocks: list[str | Table] = [
        f"nDCG@10 of {queries['dev']} dev queries over {record['products']:,} products, and of all "
        f"{queries['validated']} judged ones by {queries['repeats']} times {queries['folds']}-fold cross-validation; "
        "differences to the first row with 95 % intervals.",
        Table.of(columns, record["variants"]),
        f"Bold, chosen: the fewest bytes that lose at most {budget}, cross-validated, and nowhere significantly. "
        f"Italic, proven: the fewest bytes whose interval excludes a loss of more than {budget}.",
    ]
    return Report("token_frontier", record, blocks, lambda figure: _draw_tokens(figure, record), (9, 5.5))


def _draw_tokens(figure: Figure, record: dict[str, Any]) -> None:
    """Cross-validated nDCG@10 against bytes per product; named are the variants that no smaller one reaches."""
    rows = sorted(record["variants"], key=lambda row: (row["bytes_per_product"], -row["validated"]["mean"]))
    places = [(row["bytes_per_product"], row["validated"]["mean"]) for row in rows]
    base = record["variants"][0]
    axes = figure.subplots()
    for kind, colour in KINDS.items():
        some = [place for place, row in zip(places, rows, strict=True) if _kind(row["variant"]) == kind]
        line = "none" if kind == "several" else "-"
        axes.plot(*_columns(some), linestyle=line, linewidth=0.7, marker="o", markersize=5, color=colour, label=kind)
    named, most = 0, float("-inf")
    for (size, mean), row in zip(places, rows, strict=True):
        marks = [what for what in ("chosen", "proven") if row["name"] == record[what]]
        if mean > most or marks or row is base:
            ends = [base["validated"]["mean"] + row["validated"][end] for end in ("low", "high")]
            axes.vlines(size, *ends, color="#bbbbbb", linewidth=1, zorder=0)
            text, beside = ", ".join([row["name"], *marks]), (3, -12 if named % 2 else 5)
            weight = "bold" if marks else "normal"
            axes.annotate(text, (size, mean), beside, textcoords="offset points", fontsize=8, weight=weight)
            named += 1
        most = max(most, mean)
    axes.axhline(base["validated"]["mean"], color="#999999", linewidth=0.8, zorder=0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.margins(x=0.2)
    axes.set_xlabel("bytes of token vectors per product")
    axes.set_ylabel("nDCG@10, cross-validated; 95 % interval of the difference")
    axes.legend(title="what is less", loc="lower right")


def _columns(places: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [size for size, _ in places], [mean for _, mean in places]


def _kind(variant: dict[str, Any]) -> str:
    """What a variant has less of than the index."""
    tokens = f"tokens, by {variant['by']}" if variant["tokens"] < STORED_TOKENS else ""
    less = ["width" * (variant["width"] < TOKEN_WIDTH), "bits" * (variant["bits"] < 8), tokens]
    return "several" if len(list(filter(None, less))) > 1 else "".join(less) or "nothing"
