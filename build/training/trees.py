"""Gradient-boosted trees over the ranker's features: fitted by LambdaMART, served as comparisons and matrix products.

LambdaMART (Burges 2010; LightGBM's `lambdarank`) starts from the scores of a linear head, so that the trees learn what
that leaves over. No engine for GPUs walks trees. So each becomes tensors, as in Hummingbird (Nakandala et al., OSDI
2020): its nodes' features are gathered and compared with the thresholds; a product with the tree's paths counts, for
each leaf, the comparisons that lead there; the leaf for which all do gives its value. Counts of a few nodes are exact
in any floating point, and so are the comparisons in fp32, as each threshold is the next float32 below LightGBM's.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LEAVES = 8
"""Of a tree, at most."""
RATE = 0.1
LABELS = 100
"""Steps of gain between nothing and exact: LightGBM's labels are integers."""
LEAST_IN_LEAF = (20, 100)
"""Candidates in a leaf at least: one in `SHARE` of all, within these bounds."""
SHARE = 200
TRUNCATION = 20
"""Places that the loss looks at, twice those of nDCG@10."""


Node = tuple[int, float]
"""A comparison, whether a feature is at most a threshold: then left, else right."""


class Trees(nn.Module):
    """T trees of N nodes and L leaves at most, over W features; smaller ones are filled up with leaves out of reach."""

    features: Tensor
    thresholds: Tensor
    paths: Tensor
    needed: Tensor
    values: Tensor

    def __init__(self, trees: int, nodes: int = LEAVES - 1, leaves: int = LEAVES) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(trees * nodes, dtype=torch.int64))
        self.register_buffer("thresholds", torch.zeros(trees * nodes))
        self.register_buffer("paths", torch.zeros(trees, nodes, leaves))
        self.register_buffer("needed", torch.full((trees, 1, leaves), float(nodes + 1)))
        self.register_buffer("values", torch.zeros(trees, 1, leaves))

    def forward(self, features: Tensor) -> Tensor:
        """Sum of the trees' values [B, C] for features [B, C, W]."""
        trees, nodes, _ = self.paths.shape
        seen = features.index_select(-1, self.features)
        left = (seen <= self.thresholds).to(torch.float32)
        by_tree = left.reshape(-1, int(features.shape[1]), trees, nodes).transpose(1, 2)
        reached = (torch.matmul(by_tree, self.paths) == self.needed).to(torch.float32)
        return (reached * self.values).sum((1, 3))

    @classmethod
    def of(cls, structures: Sequence[Mapping[str, Any]]) -> "Trees":
        """Return trees that LightGBM's `dump_model` gives as nested nodes, without missing values."""
        made = cls(len(structures))
        nodes = made.paths.shape[1]
        for tree, structure in enumerate(structures):
            found: list[Node] = []
            for leaf, (path, value) in enumerate(_leaves(structure, found, {})):
                for node, side in path.items():
                    made.paths[tree, node, leaf] = side
                made.needed[tree, 0, leaf] = sum(side > 0 for side in path.values())
                made.values[tree, 0, leaf] = value
            for place, (feature, threshold) in enumerate(found, tree * nodes):
                made.features[place] = feature
                made.thresholds[place] = float(below(threshold))
        return made


def _leaves(
    structure: Mapping[str, Any], found: list[Node], path: dict[int, int]
) -> Iterator[tuple[dict[int, int], float]]:
    """Iterate over the leaves: the nodes before each, 1 where it lies to their left, else -1, and its value."""
    if "leaf_value" in structure:
        yield path, structure["leaf_value"]
    else:
        node = len(found)
        found.append((structure["split_feature"], structure["threshold"]))
        yield from _leaves(structure["left_child"], found, {**path, node: 1})
        yield from _leaves(structure["right_child"], found, {**path, node: -1})


def below(threshold: float) -> np.float32:
    """Return the largest float32 that is not above a threshold: no float32 lies between them."""
    nearest = np.float32(threshold)
    return nearest if nearest <= threshold else np.nextafter(nearest, np.float32(-np.inf))


def boosted(features: Tensor, *, rows: Tensor, gains: Tensor, start: Tensor, trees: int) -> Any:
    """Return LightGBM's booster of LambdaMART.

    Args:
        features: float32 [Q, C, W].
        rows: [Q, C], -1 where there is padding.
        gains: [Q, C], NaN where not judged, which counts as wrong.
        start: scores [Q, C] that the trees are added to.
        trees: how many.
    """
    import lightgbm  # takes a second, and only fitting needs it

    known = (rows >= 0).numpy()
    labels = np.rint(gains.nan_to_num().numpy()[known] * LABELS).astype(int)
    data = lightgbm.Dataset(features.numpy()[known], labels, group=known.sum(1), init_score=start.numpy()[known])
    settings = {
        "objective": "lambdarank",
        "lambdarank_truncation_level": TRUNCATION,
        "label_gain": [label / LABELS for label in range(LABELS + 1)],
        "num_leaves": LEAVES,
        "min_data_in_leaf": int(np.clip(len(labels) // SHARE, *LEAST_IN_LEAF)),
        "learning_rate": RATE,
        "lambda_l2": 1.0,
        "feature_fraction": 0.8,
        "use_missing": False,
        "deterministic": True,
        "force_row_wise": True,
        "seed": 7,
        "verbose": -1,
    }
    return lightgbm.train(settings, data, trees)


def fit_trees(features: Tensor, *, rows: Tensor, gains: Tensor, start: Tensor, trees: int) -> Trees:
    """Return trees of LambdaMART to be added to scores; arguments are those of `boosted`."""
    booster = boosted(features, rows=rows, gains=gains, start=start, trees=trees)
    return Trees.of([one["tree_structure"] for one in booster.dump_model()["tree_info"]])
