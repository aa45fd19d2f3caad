"""What is bought together more often than the size of the baskets explains."""

from textwrap import wrap
from typing import Any

import networkx
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.sparse import csc_array, triu
from scipy.stats import false_discovery_control, poisson

from build.behaviour.shop import Shop

SUPPORT = 0.001
"""Share of the baskets that hold a pair at least, and LEAST baskets of LEAST users."""
LEAST = 10
STRATA = 20
ERRORS = 0.01
"""False discoveries that are let through, of all that are named (Benjamini & Hochberg 1995)."""
STRONGEST = 300
"""Pairs that make the groups."""
SHOWN = 25
MEMBERS = 8
"""Of a group that are shown, at most."""
SEED = 7
Link = tuple[str, str, float]
"""Two products and their lift."""


def together(shop: Shop) -> dict[str, Any]:
    """The strongest pairs and the groups that they form."""
    held = _matrix(shop)
    found, family = pairs(held)
    rows = _named(shop, held, found.sort_values("evidence", ascending=False, kind="stable"))
    links = [(row["left"]["item"], row["right"]["item"], row["lift"]) for row in rows]
    titles = {side["item"]: side["title"] for row in rows for side in (row["left"], row["right"])}
    return {
        "baskets": held.shape[0],
        "least_baskets": _least(held.shape[0]),
        "tested": family,
        "beyond_chance": len(found),
        "error_rate": ERRORS,
        "pairs": rows[:SHOWN],
        "groups": [_group(items, links, titles) for items in grouped(links)],
    }


def pairs(held: csc_array) -> tuple[pd.DataFrame, int]:
    """Pairs of products that baskets hold together beyond chance.

    Chance keeps how often each product is bought among baskets of like size: large baskets hold many pairs by nature.
    Within a stratum of size, the count of a pair is hypergeometric, as in Fisher's exact test; the sum over strata is
    judged by the tail of a Poisson count of the same mean, which is never lighter above its mean than theirs. A pair
    makes its own baskets larger, so that its lift is too low, if anything.
    All pairs of products that could reach the least support are the family whose false discoveries are held down.

    Args:
        held: 1.0 where a basket holds a product [B, P].

    Returns:
        `left`, `right`, `baskets` (their number), `expected`, `lift`, `q` of each pair found, and its `evidence`, the
        deviance of the number from what chance expects, which weighs lift by support; and how many were tested.
    """
    least = _least(held.shape[0])
    often = np.flatnonzero(held.sum(0) >= least)
    family = len(often) * (len(often) - 1) // 2
    some = held[:, often]
    joint = triu(some.T @ some, k=1).tocoo()
    enough = joint.data >= least
    left, right, count = joint.row[enough], joint.col[enough], joint.data[enough]
    expected = np.zeros(len(count))
    for stratum in strata(np.asarray(held.sum(1))):
        times = np.asarray(some[stratum].sum(0))
        expected += times[left] * times[right] / len(stratum)
    found = pd.DataFrame({"left": often[left], "right": often[right], "baskets": count, "expected": expected})
    # Those below the support count as p = 1, which leaves the q of the others as if the family were these alone, scaled
    q = false_discovery_control(poisson.sf(count - 1, expected)) * family / max(1, len(count))
    found = found.assign(q=q, lift=count / expected).query("q <= @ERRORS and baskets > expected")
    evidence = 2 * (found["baskets"] * np.log(found["lift"]) - (found["baskets"] - found["expected"]))
    return found.assign(evidence=evidence), family


def strata(size: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Places of the baskets, grouped by like size, into about as many in each."""
    edges = np.unique(np.quantile(size, np.linspace(0, 1, STRATA + 1)[1:-1]))
    number = np.searchsorted(edges, size, side="left")
    return [np.flatnonzero(number == at) for at in np.unique(number)]


def grouped(links: list[Link]) -> list[list[str]]:
    """Groups of three products or more, the largest first, each with its best connected product first.

    Louvain's communities (Blondel et al. 2008) on the logarithm of the lift.
    """
    graph = networkx.Graph()
    graph.add_weighted_edges_from((left, right, float(np.log(lift))) for left, right, lift in links)
    groups = networkx.community.louvain_communities(graph, seed=SEED) if len(graph) else []
    weight = dict(graph.degree(weight="weight"))
    ordered = [sorted(group, key=lambda item: (-weight[item], item)) for group in groups if len(group) > 2]
    return sorted(ordered, key=lambda group: (-len(group), group[0]))


def _group(items: list[str], links: list[Link], titles: dict[str, str]) -> dict[str, Any]:
    """The best connected of a group, and the pairs among them with their lift."""
    place = {item: at for at, item in enumerate(items[:MEMBERS])}
    return {
        "size": len(items),
        "items": [{"item": item, "title": titles[item]} for item in place],
        "links": [[place[left], place[right], lift] for left, right, lift in links if {left, right} <= place.keys()],
    }


def _least(count: int) -> int:
    return max(LEAST, int(np.ceil(SUPPORT * count)))


def _matrix(shop: Shop) -> csc_array:
    """1.0 where a basket holds a product [B, P]; the baskets in the order of their numbers."""
    basket, item = pd.factorize(shop.lines["basket"], sort=True)[0], shop.lines["item"]
    return csc_array((np.ones(len(basket)), (basket, item)), shape=(basket.max() + 1, len(shop.seen.items)))


def _named(shop: Shop, held: csc_array, found: pd.DataFrame) -> list[dict[str, Any]]:
    """The first pairs of those found that enough shoppers bought."""
    user = shop.lines.groupby("basket")["user"].first().to_numpy()
    baskets_of = {item: held.indices[held.indptr[item] : held.indptr[item + 1]] for item in range(held.shape[1])}
    rows: list[dict[str, Any]] = []
    for pair in found.to_dict("records"):
        of = {side: baskets_of[pair[side]] for side in ("left", "right")}
        buyers = len(np.unique(user[np.intersect1d(*of.values())]))
        if buyers < LEAST:
            continue
        sides = {
            side: {**shop.product(pair[side]), "with_other": pair["baskets"] / len(some)} for side, some in of.items()
        }
        rows.append(
            {
                **sides,
                "baskets": int(pair["baskets"]),
                "buyers": buyers,
                "support": pair["baskets"] / held.shape[0],
                **{name: pair[name] for name in ("expected", "lift", "q")},
            }
        )
        if len(rows) == STRONGEST:
            break
    return rows


def _draw(figure: Figure, chapter: dict[str, Any]) -> None:
    panels = list(figure.subplots(3, 3).flat)
    for axes in panels:
        axes.set_axis_off()
    if not chapter["groups"]:
        panels[4].text(0.5, 0.5, "no group of three products", ha="center")
    for number, (axes, group) in enumerate(zip(panels, chapter["groups"], strict=False)):
        graph = networkx.Graph()
        graph.add_nodes_from(range(len(group["items"])))
        graph.add_weighted_edges_from((left, right, float(np.log(lift))) for left, right, lift in group["links"])
        place = networkx.circular_layout(graph)
        widths = [0.4 + 0.5 * weight for _, _, weight in graph.edges(data="weight")]
        networkx.draw_networkx_edges(graph, place, ax=axes, width=widths, edge_color="#c3c8cf")
        networkx.draw_networkx_nodes(graph, place, ax=axes, node_size=60, node_color=[f"C{number}"])
        for at, (x, y) in place.items():
            name = "\n".join(wrap(group["items"][at]["title"], 16)[:3])
            side = "left" if x > 0.3 else "right" if x < -0.3 else "center"
            axes.annotate(name, (1.12 * x, 1.2 * y), ha=side, va="center", fontsize=6)
        axes.set_xlim(-2.2, 2.2)
        axes.set_ylim(-1.6, 1.6)


PLOTS = {"groups": ((9.5, 8.5), _draw)}
