"""A model repository with the real configs, Python steps and index, and small models in place of trained ones.

The models are written as ONNX text with exactly the contract's tensors. They are enough to rank products that share
words with the query first, deterministic, and made in a second.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, parser
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from build.release.publish import assemble
from shelfbridge.catalogue import Product
from shelfbridge.contract import (
    EMBEDDING_WIDTH,
    MAX_QUERY_TOKENS,
    SHELF_SIGNALS,
    SHELF_WIDTH,
    SIGNALS,
    STORED_TOKENS,
    TOKEN_WIDTH,
)
from shelfbridge.retrieval import CandidateIndex, ProductPairs, ProductStore
from shelfbridge.shelf.products import Projection, ShelfProducts
from shelfbridge.shelf.signals import Demand, Neighbours

COLORS = ("red", "blue", "green", "black", "white")
BRANDS = ("Arden", "Birch", "Corvo")
THINGS = ("running shoes", "rain jacket", "camping tent", "desk lamp", "coffee mug", "garden hose", "usb cable 64gb")
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")

ENCODER = """<ir_version: 9, opset_import: ["": 18]>
encoder (int64[n, s] input_ids, int64[n, s] attention_mask) => (float[n, 384] embedding, float[n, s, 64] token_vectors)
{
    last = Constant <value = int64[1] {-1}> ()
    length = Constant <value = int64[1] {1}> ()
    weights = Cast <to = 1> (attention_mask)
    mask = Unsqueeze (weights, last)
    words = Gather (dense, input_ids)
    kept = Mul (words, mask)
    sum = ReduceSum <keepdims = 0> (kept, length)
    embedding = LpNormalization <axis = -1, p = 2> (sum)
    pieces = Gather (late, input_ids)
    token_vectors = Mul (pieces, mask)
}"""
RANKER = """<ir_version: 9, opset_import: ["": 18]>
ranker (float[n, s, 64] token_vectors, int8[n, 100, t, 64] candidate_tokens, int32[n, 100] candidate_lengths,
        float[n, 100, 100] candidate_cosines, float[n, 100, SIGNALS] signals) => (float[n, 100] scores)
{
    last = Constant <value = int64[1] {-1}> ()
    known = Cast <to = 1> (signals)
    plain = ReduceSum <keepdims = 0> (known, last)
    tokens = Cast <to = 1> (candidate_tokens)
    products = Einsum <equation = "nsd,nctd->ncst"> (token_vectors, tokens)
    best = ReduceMax <keepdims = 0> (products, last)
    late = ReduceSum <keepdims = 0> (best, last)
    scale = Constant <value_float = 127.0> ()
    scaled = Div (late, scale)
    lengths = Cast <to = 1> (candidate_lengths)
    present = Sign (lengths)
    both = Add (plain, scaled)
    scores = Mul (both, present)
}"""
CROSS_ENCODER = """<ir_version: 9, opset_import: ["": 18]>
cross_encoder (int64[n, 20, l] pair_ids, int64[n, 20, l] pair_types, int64[n, 20, l] pair_mask,
               float[n, 100] sorted_scores) => (float[n, 100] scores)
{
    last = Constant <value = int64[1] {-1}> ()
    sizes = Constant <value = int64[2] {20, 80}> ()
    lifted = Constant <value_float = 1000.0> ()
    read = Mul (pair_types, pair_mask)
    weighed = Mul (read, pair_ids)
    sums = ReduceSum <keepdims = 0> (weighed, last)
    values = Cast <to = 1> (sums)
    first, others = Split <axis = 1> (sorted_scores, sizes)
    offset = Add (values, lifted)
    top = Add (first, offset)
    scores = Concat <axis = 1> (top, others)
}"""

USER_ENCODER = """<ir_version: 9, opset_import: ["": 18]>
user_encoder (float[n, l, 64] event_vectors, float[n, l] event_ages, int64[n, l] event_kinds, int64[n, l] event_mask)
  => (float[n, 64] user_vector)
{
    last = Constant <value = int64[1] {-1}> ()
    length = Constant <value = int64[1] {1}> ()
    one = Constant <value_float = 1.0> ()
    there = Cast <to = 1> (event_mask)
    older = Add (event_ages, one)
    fresh = Div (there, older)
    kinds = Cast <to = 1> (event_kinds)
    stronger = Add (kinds, one)
    counts = Mul (fresh, stronger)
    weights = Unsqueeze (counts, last)
    weighed = Mul (event_vectors, weights)
    user_vector = ReduceSum <keepdims = 0> (weighed, length)
}"""
SHELF_RANKER = """<ir_version: 9, opset_import: ["": 18]>
shelf_ranker (float[n, 400, SIGNALS] shelf_signals) => (float[n, 400] shelf_scores)
{
    last = Constant <value = int64[1] {-1}> ()
    weighed = Mul (shelf_signals, weights)
    shelf_scores = ReduceSum <keepdims = 0> (weighed, last)
}"""


def catalogue() -> list[Product]:
    """A few hundred products that differ by colour, brand, thing and size, and two in other scripts."""
    products = [
        Product(
            product_id=f"{brand}-{color}-{thing}-{size}".replace(" ", "-").lower(),
            title=f"{color} {thing} {size}",
            brand=brand,
            category=("Everything", thing.title()),
            price=5.0 + size + 10 * COLORS.index(color),
            stock=size % 3,
        )
        for size in range(5)
        for thing in THINGS
        for color in COLORS
        for brand in BRANDS
    ]
    others = (Product(product_id="cn-1", title="红色 跑步鞋"), Product(product_id="ar-1", title="حذاء أحمر للجري"))
    return [*products, *others]


def write_repository(folder: Path) -> Path:
    """Write the whole repository, all models in version 1."""
    assemble(folder, number=1, parts=write_parts(folder.with_name(f"{folder.name}.parts")), about={})
    return folder


def write_parts(folder: Path) -> dict[str, Path]:
    """Write what a build's stages would, a folder for each model."""
    parts = {
        model: folder / model
        for model in (
            *("preprocess", "encoder", "ranker", "cross_encoder", "retrieve", "shortlist", "postprocess"),
            *("user_encoder", "shelf_ranker", "shelf_candidates"),
        )
    }
    for part in parts.values():
        part.mkdir(parents=True)
    products = catalogue()
    tokenizer = make_tokenizer(products)
    tokenizer.save(str(folder / "preprocess/tokenizer.json"))
    dense, late = tables(tokenizer.get_vocab_size())
    write_model(folder / "encoder/model.onnx", ENCODER, dense=dense, late=late)
    write_model(folder / "ranker/model.onnx", RANKER.replace("SIGNALS", str(len(SIGNALS))))
    write_model(folder / "cross_encoder/model.onnx", CROSS_ENCODER)
    pieces = [np.array(tokenizer.encode(product.short_text).ids)[:STORED_TOKENS] for product in products]
    vectors = np.stack([dense[row].sum(axis=0) for row in pieces])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    tokens = [np.rint(late[row] * 127).astype(np.int8) for row in pieces]
    CandidateIndex.write(folder / "retrieve", products, vectors, tokens)
    ProductPairs.write(folder / "shortlist", [row[1:] for row in pieces])
    ProductStore.write(folder / "postprocess", products)
    write_shelf(folder, products, vectors)
    return parts


def write_shelf(folder: Path, products: list[Product], texts: NDArray[np.float32]) -> None:
    """Models and files of a shelf: taste is of texts, things of a kind are bought together, the first sell best."""
    weights = np.array(
        [1.0 if name in ("affinity", "company", "cosines") else 0.0 for name in SHELF_SIGNALS], np.float32
    )
    write_model(folder / "user_encoder/model.onnx", USER_ENCODER)
    text = SHELF_RANKER.replace("SIGNALS", str(len(SHELF_SIGNALS)))
    write_model(folder / "shelf_ranker/model.onnx", text, weights=weights)
    random, count = np.random.default_rng(1), len(products)
    outer = (random.standard_normal((SHELF_WIDTH, EMBEDDING_WIDTH)) / 8).astype(np.float32)
    projection = Projection(
        centre=np.zeros(EMBEDDING_WIDTH, np.float32),
        inner=np.eye(EMBEDDING_WIDTH, dtype=np.float32),
        inner_bias=np.zeros(EMBEDDING_WIDTH, np.float32),
        outer=outer,
        outer_bias=np.zeros(SHELF_WIDTH, np.float32),
    )
    together = np.array([[one.category == other.category for other in products] for one in products], np.float32)
    demand = np.arange(count, 0, -1).astype(np.float32) / 10
    ShelfProducts.write(
        folder / "shelf_candidates",
        vectors=projection(texts),
        users=projection(texts[:5]),
        projection=projection,
        associated=Neighbours.of(together, 20),
        companions=Neighbours.of(together, 20),
        demand=Demand(demand, demand),
    )


def make_tokenizer(products: list[Product]) -> Tokenizer:
    """Whole words of the catalogue; anything else is unknown."""
    splitter = pre_tokenizers.BertPreTokenizer()
    words = {word for p in products for word, _ in splitter.pre_tokenize_str(p.short_text.lower())}
    vocabulary = {word: number for number, word in enumerate([*SPECIALS, *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(MAX_QUERY_TOKENS)
    return tokenizer


def tables(words: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Random unit vectors per word, for retrieval and for ranking."""
    random = np.random.default_rng(0)
    drawn = (random.standard_normal((words, width)) for width in (EMBEDDING_WIDTH, TOKEN_WIDTH))
    dense, late = ((table / np.linalg.norm(table, axis=1, keepdims=True)).astype(np.float32) for table in drawn)
    return dense, late


def write_model(path: Path, text: str, **weights: NDArray[np.float32]) -> None:
    """Write a graph given as ONNX text, with its weights."""
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    onnx.checker.check_model(model)
    onnx.save(model, path)
