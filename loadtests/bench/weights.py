"""The shop as the peers read it: our fp32 originals in the formats of their libraries, and the products.

The encoder is a sentence-transformers folder (transformer, mean pooling, normalisation), the cross-encoder a Hugging
Face sequence classifier with one label; both carry the shop's tokenizer. Beside them the same networks as ONNX, fused
by onnxruntime's transformer optimiser, in fp32 and, weights quantised dynamically, in int8.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from rich.console import Console
from torch import Tensor, nn
from transformers import AutoTokenizer

from build.compression.export import OPSET
from build.compression.quantise import quiet
from build.progress import progress
from build.training.models import CrossEncoder, Encoder, base_folder
from build.training.tokenizer import hold
from build.workspace import unfinished
from shelfbridge.catalogue import Catalogue
from shelfbridge.errors import ArtefactError
from shelfbridge.release import read_manifest
from shelfbridge.wordpieces import WordPieces

WORDS = 45
"""Words of a product that a peer's cross-encoder reads."""
PAIR_TOKENS = 128
"""Word pieces at which a peer cuts a query and a product."""
BATCH = 64
NETWORKS = ("encoder", "cross-encoder")
_FORM = 2
"""Counts up when what is written here changes."""


class Embedder(nn.Module):
    """The encoder as a peer has it: its unit vectors alone."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder, self.trunk = encoder, encoder.trunk

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Unit vectors [B, D] from int64 [B, S]."""
        vectors: Tensor = self.encoder(input_ids, attention_mask)[0]
        return vectors


def originals(release: Path, stages: Path) -> dict[str, Path]:
    """Stage folders of the tokenizer, encoder and cross-encoder that a release was compressed from.

    Raises:
        ArtefactError: a stage's result is not there, or the manifest leaves open which it is.
    """
    manifest = read_manifest(release)
    named = manifest.get("originals", {})
    found = {"tokenizer": [stages / manifest["made_from"]["preprocess"]]}
    for name in NETWORKS:
        found[name] = [stages / named[name]] if name in named else sorted((stages / name).glob("[!.]*"))
    for name, folders in found.items():
        if not any(folder.is_dir() for folder in folders):
            raise ArtefactError(f"{stages} lacks the {name} of {release}; give --stages of the build that made it")
        if len(folders) > 1:
            raise ArtefactError(
                f"{stages / name} has several results ({', '.join(folder.name for folder in folders)}), and the "
                f"manifest of {release} does not say which it was made from; run python -m build again, its release "
                "says so"
            )
    return {name: folder for name, (folder,) in found.items()}


def write_shop(folder: Path, release: Path, stages: Path, catalogue: Catalogue, console: Console) -> Path:
    """A folder under `folder` with all that a peer reads, made once for the same networks and products.

    Holds `encoder/`, `cross-encoder/`, `<network>.onnx`, `<network>.int8.onnx`, `vectors.npy` (float32 [N, D]) and
    `products.json` (ids, whole texts for BM25, and texts as a cross-encoder reads them).

    Raises:
        ArtefactError: the networks are not there or do not belong to the release.
    """
    made = originals(release, stages)
    names = "-".join(path.name[:8] for path in made.values())
    home = folder / f"shop-{_FORM}-{names}-{catalogue_digest(catalogue)}"
    if home.is_dir():
        return home
    with unfinished(folder) as work:
        base = AutoTokenizer.from_pretrained(base_folder(read_manifest(release)["base"]))
        for name in NETWORKS:
            with console.status(f"weights of the {name}"):
                _write_network(work, name, made[name], made["tokenizer"], base)
        texts = [product.full_text for product in catalogue.products]
        np.save(work / "vectors.npy", _vectors(work / "encoder.onnx", made["tokenizer"], texts, console))
        shown = {
            "ids": [product.product_id for product in catalogue.products],
            "full_texts": texts,
            "texts": [" ".join(text.split()[:WORDS]) for text in texts],
        }
        (work / "products.json").write_text(json.dumps(shown))
        work.rename(home)
    return home


def catalogue_digest(catalogue: Catalogue) -> str:
    """Identity of the products."""
    rows = "\n".join(product.model_dump_json() for product in catalogue.products)
    return hashlib.sha256(rows.encode()).hexdigest()[:8]


def _write_network(work: Path, name: str, trained: Path, tokenizer: Path, base: Any) -> None:
    folder = work / name
    folder.mkdir()
    for file in ("config.json", "model.safetensors"):
        shutil.copy(trained / file, folder)
    typed = json.loads((folder / "config.json").read_text()).get("type_vocab_size", 0) > 1
    _write_tokenizer(folder, tokenizer, base, typed)
    ids = torch.arange(1, 19).reshape(2, 9)
    feeds = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    feeds["attention_mask"][1, 5:] = 0
    model: Embedder | CrossEncoder
    if name == "encoder":
        _write_pooling(folder)
        model = Embedder(Encoder.load(trained)).eval()
    else:
        model = CrossEncoder.load(folder)
        feeds["token_type_ids"] = torch.zeros_like(ids)
    hold(model.trunk, tokenizer, trained)
    graph = work / f"{name}.onnx"
    with quiet():
        _export(model, feeds, graph)
        quantize_dynamic(
            graph,
            graph.with_suffix(".int8.onnx"),
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )


def _write_tokenizer(folder: Path, tokenizer: Path, base: Any, typed: bool) -> None:
    shutil.copy(tokenizer / "tokenizer.json", folder)
    special = {name: str(token) for name, token in base.special_tokens_map.items() if isinstance(token, str)}
    inputs = ["input_ids", *(["token_type_ids"] if typed else []), "attention_mask"]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": PAIR_TOKENS,
        "model_input_names": inputs,
        **special,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text(json.dumps(special))


def _write_pooling(folder: Path) -> None:
    width = json.loads((folder / "config.json").read_text())["hidden_size"]
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": PAIR_TOKENS}))
    for path in ("1_Pooling", "2_Normalize"):
        (folder / path).mkdir()
    pooling = {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def _export(model: Embedder | CrossEncoder, feeds: dict[str, Tensor], path: Path) -> None:
    """Write and fuse a graph.

    Raises:
        ArtefactError: it does not compute what the network does.
    """
    with torch.inference_mode():
        expected = model(*feeds.values()).numpy()
        torch.onnx.export(
            model,
            tuple(feeds.values()),
            str(path),
            input_names=list(feeds),
            output_names=["output"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in feeds} | {"output": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    shape = model.trunk.config
    fused = optimizer.optimize_model(
        str(path), model_type="bert", num_heads=shape.num_attention_heads, hidden_size=shape.hidden_size
    )
    fused.save_model_to_file(str(path))
    session = onnxruntime.InferenceSession(path)
    (got,) = session.run(None, {one.name: feeds[one.name].numpy() for one in session.get_inputs()})
    if not np.allclose(expected, got, atol=1e-3):
        raise ArtefactError(f"{path.name} differs from its network; another onnxruntime may fuse it rightly")


def _vectors(graph: Path, tokenizer: Path, texts: Sequence[str], console: Console) -> NDArray[np.float32]:
    """Unit vector of each product, float32 [N, D]."""
    pieces = WordPieces(tokenizer / "tokenizer.json")
    session = onnxruntime.InferenceSession(graph)
    rows = np.argsort([len(text) for text in texts], kind="stable")
    found: dict[int, NDArray[np.float32]] = {}
    with progress(console) as bar:
        for start in bar.track(range(0, len(texts), BATCH), description="vectors of the products"):
            some = rows[start : start + BATCH]
            ids, mask = pieces.products([texts[row] for row in some])
            (vectors,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
            found.update(zip(some.tolist(), vectors, strict=True))
    return np.stack([found[row] for row in range(len(texts))])
