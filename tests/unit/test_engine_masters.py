"""NVIDIA's own parser and builder take every master that a build writes, with our profiles, and refuse the CPU's files.

TensorRT-RTX does both without a GPU (`make rtx` installs it). Whether an engine answers rightly, only a GPU can tell.
"""

from pathlib import Path

import onnx
import pytest
import torch
from transformers import BertConfig, BertModel

from build.compression import fp16
from build.compression.export import export_cross_encoder, export_ranker
from build.compression.quantise import calibrated, quantise_ranker, write
from build.engines import api, buckets
from build.engines.builder import Network, Options
from build.engines.feeds import feeds
from build.engines.operators import check_graph
from build.shelf.network import Head, UserEncoder, export_head, export_user_encoder
from build.training.models import CrossEncoder, Ranker
from build.training.trees import Trees
from shelfbridge.contract import MODELS
from shelfbridge.errors import ArtefactError
from tests.unit.engine_samples import LENGTHS, QUIET
from tests.unit.quantised import write_encoder

RTX = api.tensorrt_rtx()
needs_rtx = pytest.mark.skipif(RTX is None, reason="TensorRT-RTX is not installed (make rtx)")
WORDS = 1000
SIZES = {"batch": 8, "length": 9}
ALL_LENGTHS = {**LENGTHS, "event": {1: 10, 12: 30}}


def write_cross_encoder(folder: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=1100, max_position_embeddings=128, **sizes)).save_pretrained(folder)
    CrossEncoder(str(folder)).save(folder)
    export_cross_encoder(folder, trained=folder, weight=1.0)


def write_ranker(folder: Path) -> None:
    sides = {"left_child": {"leaf_value": -0.1}, "right_child": {"leaf_value": 0.1}}
    stump = {"split_feature": 0, "threshold": 0.1, **sides}
    Ranker(1 / 127, Trees.of([stump, stump])).save(folder)
    export_ranker(folder, trained=folder)


def write_user_encoder(folder: Path) -> None:
    made = UserEncoder().eval()
    torch.nn.init.normal_(made.of_kinds.weight)
    export_user_encoder(folder, made)


WRITERS = {
    "encoder": lambda folder: write_encoder(folder).rename(folder / "model.onnx"),
    "ranker": write_ranker,
    "cross_encoder": write_cross_encoder,
    "user_encoder": write_user_encoder,
    "shelf_ranker": lambda folder: export_head(folder, Head().eval()),
}
"""Each network with random weights, exported as a build does; the encoder's is that of queries and of products."""


@pytest.fixture(scope="module", params=WRITERS)
def network(request, tmp_path_factory):
    """Name and folder of a network in all its forms."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    torch.manual_seed(1)
    WRITERS[name](folder)
    source = (folder / "model.onnx").rename(folder / "fp32.onnx")
    model = MODELS[name]
    batches = [
        feeds(model, {t.name: buckets.shape(t, SIZES["batch"], SIZES["length"]) for t in model.inputs}, WORDS, seed)
        for seed in range(16)
    ]
    fp16.halve(folder, graph=source, feeds=batches)
    if name == "ranker":
        quantise_ranker(folder, graph=source, feeds=batches)
    elif name != "shelf_ranker":  # too small to gain
        write(folder, calibrated(source, batches, "max", QUIET))  # random weights may lose more than is allowed
    return name, folder


@needs_rtx
def test_every_master_is_parsed_and_built_with_our_profiles(network):
    name, folder = network
    profiles = buckets.profiles(MODELS[name], ALL_LENGTHS, 64)
    masters = [file for file in sorted(folder.glob("*.onnx")) if file.name != "model.onnx"]
    assert {"fp32.onnx", "fp16.onnx"} <= {file.name for file in masters}
    for file in masters:
        check_graph(file)
        taken = Network.parsed(RTX, file)
        assert taken.definition.num_inputs == len(MODELS[name].inputs)
        assert len(taken.serialised(profiles, Options(), console=QUIET)) > 1000


@needs_rtx
def test_the_cpus_int8_is_refused_for_its_zero_points(network):
    name, folder = network
    if name in ("ranker", "shelf_ranker"):
        pytest.skip("it has no int8 form of its own on the CPU")
    assert onnx.load(folder / "model.onnx")
    with pytest.raises(ArtefactError, match=r"refuses .*model\.onnx: node .*QuantizeLinear.*[Zz]ero"):
        Network.parsed(RTX, folder / "model.onnx")
