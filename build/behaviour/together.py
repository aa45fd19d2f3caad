"""What is bought together more often than the size of the baskets explains."""

from typing import Any

import networkx
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, triu
from scipy.stats import poisson

from build.behaviour.chance import adjusted
from build.behaviour.tables import lines, title
from build.shelf.interactions import Interactions

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


def together(shop: Interactions) -> dict[str, Any]:
    """The strongest pairs and the groups that they form."""
    held = _matrix(shop)
    found = pairs(held)
    users = _basket_users(shop)
    rows: list[dict[str, Any]] = []
    for at in np.argsort(-found["evidence"], kind="stable"):
        left, right = int(found["left"][at]), int(found["right"][at])
        buyers = len(np.unique(users[np.intersect1d(_of(held, left), _of(held, right))]))
        if buyers < LEAST:
            continue
        rows.append(_row(shop, held, found, int(at), buyers))
        if len(rows) == STRONGEST:
            break
    links = [(row["left"]["item"], row["right"]["item"], row["lift"]) for row in rows]
    titles = {side["item"]: side["title"] for row in rows for side in (row["left"], row["right"])}
    return {
        "baskets": held.shape[0],
        "least_baskets": _least(held.shape[0]),
        "tested": int(found["family"]),
        "beyond_chance": len(found["lift"]),
        "error_rate": ERRORS,
        "pairs": rows[:SHOWN],
        "groups": [_group(items, links, titles) for items in grouped(links)],
    }


def pairs(held: csc_array) -> dict[str, Any]:
    """Pairs of products that baskets hold together beyond chance.

    Chance keeps how often each product is bought among baskets of like size: large baskets hold many pairs by nature.
    Within a stratum of size, the count of a pair is hypergeometric, as in Fisher's exact test; the sum over strata is
    judged by the tail of a Poisson count of the same mean, which is never lighter above its mean than theirs. A pair
    makes its own baskets larger, so that its lift is too low, if anything.
    All pairs of products that could reach the least support are the family whose false discoveries are held down.

    Args:
        held: 1.0 where a basket holds a product [B, P].

    Returns:
        `left`, `right`, `count`, `expected`, `lift`, `q` of each pair found, and its `evidence`, the deviance of the
        count from what chance expects, which weighs lift by support; `family`, how many were tested.
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
    q = adjusted(poisson.sf(count - 1, expected), family)
    kept = (q <= ERRORS) & (count > expected)
    count, expected = count[kept], expected[kept]
    lift = count / expected
    return {
        "left": often[left[kept]],
        "right": often[right[kept]],
        "count": count.astype(np.int64),
        "expected": expected,
        "lift": lift,
        "evidence": 2 * (count * np.log(lift) - (count - expected)),
        "q": q[kept],
        "family": family,
    }


def strata(size: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Places of the baskets, grouped by like size, into about as many in each."""
    edges = np.unique(np.quantile(size, np.linspace(0, 1, STRATA + 1)[1:-1]))
    number = np.searchsorted(edges, size, side="left")
    return [np.flatnonzero(number == at) for at in np.unique(number)]


def grouped(links: list[tuple[str, str, float]]) -> list[list[str]]:
    """Groups of three products or more, the largest first, each with its best connected product first.

    Louvain's communities (Blondel et al. 2008) on the logarithm of the lift.
    """
    graph = networkx.Graph()
    graph.add_weighted_edges_from((left, right, float(np.log(lift))) for left, right, lift in links)
    groups = networkx.community.louvain_communities(graph, seed=SEED) if len(graph) else []
    weight = dict(graph.degree(weight="weight"))
    ordered = [sorted(group, key=lambda item: (-weight[item], item)) for group in groups if len(group) > 2]
    return sorted(ordered, key=lambda group: (-len(group), group[0]))


def _group(items: list[str], links: list[tuple[str, str, float]], titles: dict[str, str]) -> dict[str, Any]:
    """The best connected of a group, and the pairs among them with their lift."""
    place = {item: at for at, item in enumerate(items[:MEMBERS])}
    return {
        "size": len(items),
        "items": [{"item": item, "title": titles[item]} for item in place],
        "links": [[place[left], place[right], lift] for left, right, lift in links if {left, right} <= place.keys()],
    }


def _least(count: int) -> int:
    return max(LEAST, int(np.ceil(SUPPORT * count)))


def _matrix(shop: Interactions) -> csc_array:
    """1.0 where a basket holds a product [B, P]."""
    once = lines(shop)
    _, basket = np.unique(once.basket, return_inverse=True)
    return csc_array(
        (np.ones(len(once)), (basket, once.item)), shape=(int(basket.max()) + 1, len(shop.items)), dtype=np.float64
    )


def _basket_users(shop: Interactions) -> NDArray[np.int32]:
    return shop.user[np.unique(shop.basket, return_index=True)[1]]


def _of(held: csc_array, item: int) -> NDArray[np.int32]:
    """The baskets with a product."""
    places: NDArray[np.int32] = held.indices[held.indptr[item] : held.indptr[item + 1]]
    return places


def _row(shop: Interactions, held: csc_array, found: dict[str, Any], at: int, buyers: int) -> dict[str, Any]:
    count = int(found["count"][at])
    sides = {
        side: {
            "item": shop.items[item],
            "title": title(shop, item),
            "with_other": count / len(_of(held, item)),
        }
        for side, item in (("left", int(found["left"][at])), ("right", int(found["right"][at])))
    }
    return {
        **sides,
        "baskets": count,
        "buyers": buyers,
        "support": count / held.shape[0],
        "expected": float(found["expected"][at]),
        "lift": float(found["lift"][at]),
        "q": float(found["q"][at]),
    }
