"""What the peers read is our networks, our tokenizer and our products."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from rich.console import Console
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

from build.data.foreign import ForeignPairs
from build.settings import preset
from build.shop import Shop
from build.stages import Stages
from build.training.models import CrossEncoder, Encoder
from build.training.tokenizer import claim
from loadtests.bench.weights import NETWORKS, WORDS, originals, write_shop
from shelfbridge.catalogue import Catalogue, Judgments
from shelfbridge.errors import ArtefactError
from shelfbridge.wordpieces import WordPieces
from tests.functional import tiny

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def catalogue():
    return Catalogue(tuple(tiny.catalogue()[:70]))


@pytest.fixture(scope="module")
def stages(tmp_path_factory, catalogue):
    """Stage results of a small shop that has two encoders."""
    root = tmp_path_factory.mktemp("stages")
    words = root / "tokenizer" / "t1"
    words.mkdir(parents=True)
    tiny.make_tokenizer(list(catalogue.products)).save(str(words / "tokenizer.json"))
    pieces = len(json.loads((words / "tokenizer.json").read_text())["model"]["vocab"])
    config = BertConfig(
        vocab_size=pieces, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    torch.manual_seed(3)
    base = root.parent / "base"
    BertModel(config).save_pretrained(base)
    special = {name: f"[{name[:3].upper()}]" for name in ("cls_token", "sep_token", "pad_token", "unk_token")}
    (base / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **special}))
    (base / "tokenizer.json").write_bytes((words / "tokenizer.json").read_bytes())
    for name, kind in (("encoder/e1", Encoder), ("encoder/e2", Encoder), ("cross-encoder/c1", CrossEncoder)):
        network = kind(str(base)).eval()
        claim(network.trunk, words)
        (root / name).mkdir(parents=True)
        network.save(root / name)
    return root


@pytest.fixture(scope="module")
def release(stages):
    folder = stages.parent / "1"
    folder.mkdir(exist_ok=True)
    about = {
        "release": 1,
        "made_from": {"preprocess": "tokenizer/t1"},
        "originals": {"encoder": "encoder/e1", "cross-encoder": "cross-encoder/c1"},
        "base": str(stages.parent / "base"),
    }
    (folder / "manifest.json").write_text(json.dumps(about))
    return folder


@pytest.fixture
def unnamed(release, tmp_path):
    """The same release with a manifest that does not name the originals."""
    about = json.loads((release / "manifest.json").read_text())
    del about["originals"]
    (tmp_path / "manifest.json").write_text(json.dumps(about))
    return tmp_path


@pytest.fixture(scope="module")
def shop(release, stages, catalogue, tmp_path_factory):
    return write_shop(tmp_path_factory.mktemp("work"), release, stages, catalogue, QUIET)


def test_originals_are_those_that_the_manifest_names(release, stages):
    assert {name: str(folder.relative_to(stages)) for name, folder in originals(release, stages).items()} == {
        "tokenizer": "tokenizer/t1",
        "encoder": "encoder/e1",
        "cross-encoder": "cross-encoder/c1",
    }


def test_a_build_names_its_networks_as_they_are_looked_for():
    shop = Shop(Catalogue(()), Judgments(()), ForeignPairs(), "", preset("quick"), QUIET)
    assert tuple(one.name for one in Stages(shop).originals.networks) == NETWORKS


def test_originals_that_no_manifest_names_are_taken_where_there_is_one_of_each(unnamed, stages, tmp_path):
    with pytest.raises(ArtefactError, match=r"encoder has several results \(e1, e2\).*run python -m build again"):
        originals(unnamed, stages)
    for name in ("tokenizer/t1", "encoder/e2", "cross-encoder/c1"):
        (tmp_path / "stages" / name).mkdir(parents=True)
    assert originals(unnamed, tmp_path / "stages")["encoder"].name == "e2"


def test_missing_originals_are_named(release, unnamed, tmp_path):
    (tmp_path / "stages/tokenizer/t1").mkdir(parents=True)
    for one in (release, unnamed):
        with pytest.raises(ArtefactError, match="lacks the encoder"):
            originals(one, tmp_path / "stages")


def test_product_vectors_are_those_of_the_encoder(shop, stages, catalogue):
    vectors = np.load(shop / "vectors.npy")
    texts = [product.full_text for product in catalogue.products]
    ids, mask = WordPieces(stages / "tokenizer" / "t1" / "tokenizer.json").products(texts)
    with torch.inference_mode():
        expected, _ = Encoder.load(stages / "encoder" / "e1")(torch.from_numpy(ids), torch.from_numpy(mask))
    np.testing.assert_allclose(vectors, expected.numpy(), atol=1e-4)


def test_a_hugging_face_peer_reads_pairs_as_the_cross_encoder_does(shop, stages):
    tokenizer = AutoTokenizer.from_pretrained(shop / "cross-encoder")
    model = AutoModelForSequenceClassification.from_pretrained(shop / "cross-encoder").eval()
    words = WordPieces(stages / "tokenizer" / "t1" / "tokenizer.json")
    query, product = "red tent", "blue lamp for the desk"
    (ids,), _ = words.queries([query])
    (more,) = words.pieces([product])
    fed = tokenizer(query, product, return_tensors="pt")
    assert fed["input_ids"][0].tolist() == [*ids, *more]
    with torch.inference_mode():
        got = model(**fed).logits.item()
        expected = CrossEncoder.load(stages / "cross-encoder" / "c1")(
            fed["input_ids"], fed["attention_mask"], fed["token_type_ids"]
        ).item()
    assert fed["token_type_ids"].sum() == len(more)
    assert got == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("ending", "tolerance"), [("onnx", 1e-4), ("int8.onnx", 0.1)])
def test_the_graphs_are_the_networks(shop, stages, ending, tolerance):
    session = onnxruntime.InferenceSession(shop / f"cross-encoder.{ending}")
    ids = (torch.arange(20) % 15 + 2).reshape(2, 10)
    mask, types = torch.ones_like(ids), torch.zeros_like(ids)
    mask[0, 7:] = 0
    types[:, 4:] = 1
    fed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    with torch.inference_mode():
        expected = CrossEncoder.load(stages / "cross-encoder" / "c1")(ids, mask, types)
    (got,) = session.run(None, {name: value.numpy() for name, value in fed.items()})
    np.testing.assert_allclose(got, expected.numpy(), atol=tolerance)
    assert (len(onnxruntime.InferenceSession(shop / f"encoder.{ending}").get_outputs())) == 1


def test_a_sentence_transformers_peer_pools_and_normalises(shop):
    modules = json.loads((shop / "encoder" / "modules.json").read_text())
    assert [one["type"].rpartition(".")[2] for one in modules] == ["Transformer", "Pooling", "Normalize"]
    assert json.loads((shop / "encoder" / "1_Pooling" / "config.json").read_text())["pooling_mode_mean_tokens"]


def test_texts_are_cut_to_their_first_words(shop, catalogue):
    shown = json.loads((shop / "products.json").read_text())
    assert shown["ids"] == [product.product_id for product in catalogue.products]
    for text, product in zip(shown["texts"], catalogue.products, strict=True):
        assert text.split() == product.full_text.split()[:WORDS]


def test_a_shop_is_written_once(shop, release, stages, catalogue):
    before = (shop / "vectors.npy").stat().st_mtime_ns
    assert write_shop(shop.parent, release, stages, catalogue, QUIET) == shop
    assert (shop / "vectors.npy").stat().st_mtime_ns == before


def test_a_network_of_another_tokenizer_is_refused(release, stages, catalogue, tmp_path):
    other = tmp_path / "stages"
    for name in ("tokenizer/t1", "encoder/e1", "cross-encoder/c1"):
        (other / name).parent.mkdir(parents=True)
        (other / name).mkdir()
        for file in (stages / name).glob("*.*"):
            (other / name / file.name).write_bytes(file.read_bytes())
    config = json.loads((other / "encoder/e1/config.json").read_text())
    (other / "encoder/e1/config.json").write_text(json.dumps(config | {"tokenizer_sha256": "another"}))
    with pytest.raises(ArtefactError, match="another tokenizer"):
        write_shop(tmp_path / "work", release, other, catalogue, QUIET)
