"""Trees as tensors give the scores of the trees that LightGBM fitted, in torch, in the graph, and in its fp16 form."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from build.compression import export, fp16
from build.training.heads import Head, point
from build.training.models import Ranker
from build.training.trees import LEAVES, Trees, below, boosted, fit_trees
from shelfbridge.contract import CANDIDATES, SIGNALS, TOKEN_WIDTH

WIDTH = len(Ranker.FEATURES)


def shop(queries: int, seed: int = 0):
    """Candidates that are right where one feature is high, or where two others are: no line parts them."""
    chance = torch.Generator().manual_seed(seed)
    features = torch.rand(queries, CANDIDATES, WIDTH, generator=chance)
    right = (features[..., 0] > 0.9) | ((features[..., 1] > 0.7) & (features[..., 2] > 0.7))
    return features, torch.arange(CANDIDATES).expand(queries, CANDIDATES), right.to(torch.float32)


def fitted(queries: int = 30, trees: int = 12):
    features, rows, gains = shop(queries)
    return boosted(features, rows=rows, gains=gains, start=torch.zeros(gains.shape), trees=trees)


@pytest.fixture(scope="module")
def booster():
    return fitted()


@pytest.fixture(scope="module")
def trees(booster):
    return Trees.of([one["tree_structure"] for one in booster.dump_model()["tree_info"]])


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1 << 20), on_thresholds=st.booleans())
def test_the_scores_are_lightgbms_own(booster, trees, seed, on_thresholds):
    chance = np.random.default_rng(seed)
    features = chance.normal(0.5, 1, (CANDIDATES, WIDTH)).astype(np.float32)
    if on_thresholds:  # and on the float32 numbers beside them
        places = chance.integers(len(trees.thresholds), size=features.shape)
        beside = chance.choice([-np.inf, 0.0, np.inf], size=features.shape).astype(np.float32)
        exact = trees.thresholds.numpy()[places]
        features = np.where(beside == 0, exact, np.nextafter(exact, beside)).astype(np.float32)
    expected = booster.predict(features, raw_score=True)
    found = trees(torch.from_numpy(features)[None])[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_threshold_goes_to_the_next_float32_below():
    between = float(np.float32(0.1)) + 1e-12
    assert below(between) == np.float32(0.1)
    assert below(float(np.float32(0.1)) - 1e-12) < np.float32(0.1)
    assert below(0.5) == 0.5


def test_a_tree_without_a_comparison_gives_its_value_to_everything():
    found = Trees.of([{"leaf_value": 0.25}, {"leaf_value": -1.0}])(torch.rand(2, 5, WIDTH))
    assert (found == -0.75).all()


def test_trees_tell_what_no_line_can():
    features, rows, gains = shop(60, seed=3)
    start = features @ point("fusion").weight
    made = Head(point("fusion").weight, fit_trees(features, rows=rows, gains=gains, start=start, trees=20))
    others, _, right = shop(20, seed=4)
    first = made.scores(others).topk(5).indices
    assert right.gather(1, first).mean() > 0.95


def test_no_tree_has_more_leaves_than_there_is_room_for(trees):
    reachable = (trees.needed <= LEAVES - 1).sum(2)
    assert ((reachable >= 2) & (reachable <= LEAVES)).all()


@pytest.fixture(scope="module")
def ranker(tmp_path_factory, trees):
    """Folder of a ranker with trees, and its graph."""
    folder = tmp_path_factory.mktemp("ranker")
    torch.manual_seed(0)
    Ranker(1 / 127, trees).save(folder)
    export.export_ranker(folder, trained=folder)
    return folder


def query(seed: int):
    """The ranker's inputs for one query."""
    chance = np.random.default_rng(seed)
    vectors = chance.normal(size=(1, 7, TOKEN_WIDTH)).astype(np.float32)
    tokens = chance.normal(size=(1, CANDIDATES, 9, TOKEN_WIDTH))
    return {
        "token_vectors": vectors / np.linalg.norm(vectors, axis=-1, keepdims=True),
        "candidate_tokens": np.rint(127 * tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)).astype(np.int8),
        "candidate_lengths": chance.integers(1, 10, (1, CANDIDATES), dtype=np.int32),
        "candidate_cosines": chance.random((1, CANDIDATES, CANDIDATES), np.float32),
        "signals": chance.random((1, CANDIDATES, len(SIGNALS)), np.float32),
    }


def test_the_graph_scores_as_the_model_that_was_saved(ranker):
    model, session = Ranker.load(ranker), onnxruntime.InferenceSession(ranker / "model.onnx")
    for seed in range(3):
        given = query(seed)
        expected = model(*map(torch.from_numpy, given.values())).detach().numpy()
        (found,) = session.run(None, given)
        assert (np.abs(found - expected) < 1e-4).mean() > 0.99  # one may lie within rounding of a threshold


def test_in_fp16_the_trees_stay_in_fp32(ranker, tmp_path):
    fp16.halve(tmp_path, graph=ranker / "model.onnx", feeds=[query(seed) for seed in range(8)])
    graph = onnx.load(tmp_path / "fp16.onnx").graph
    halves = {one.name for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT16}
    inside = [node for node in graph.node if node.name.startswith("/trees/")]
    assert inside
    assert not halves & {name for node in inside for name in node.input}
