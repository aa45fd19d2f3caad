"""Stored token vectors in fewer bytes: narrower, of fewer bits, fewer of them per product; and retrieval that has them.

Width: both sides are turned to the leading principal directions of the stored vectors (uncentred, so that products
keep their meaning), cut, and brought back to unit length. An encoder does the same with a smaller projection.

Bits: below eight, the directions are first mixed by a random rotation, after which the numbers of any unit vector are
about normal with variance 1/W (as in TurboQuant, arXiv:2504.19874), and then rounded on the uniform scale of least
square error for a normal variable (Max 1960). All vectors share one step; none is stored with them. At eight bits the
step is the largest number's, as in the index.

Tokens: the first of a product's text, or its rarest by the encoder's weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from rich.console import Console

from build.data.examples import Example
from build.evaluation.offline import EncodedQuery, Retrieval
from build.progress import progress
from shelfbridge.catalogue import Catalogue
from shelfbridge.contract import MAX_QUERY_TOKENS, STORED_TOKENS, TOKEN_WIDTH
from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval import Candidates
from shelfbridge.retrieval.ragged import Ragged
from shelfbridge.text import normalise

STEPS = {1: 1.596, 2: 0.9957, 4: 0.3352}
"""Best step of a uniform quantiser by bits, for unit variance (Max 1960, table II)."""
INT8 = 127
SEED = 7
"""Of the rotation."""


@dataclass(frozen=True)
class Variant:
    """How token vectors are stored: numbers per vector, bits per number, most vectors per product, which of them."""

    width: int = TOKEN_WIDTH
    bits: int = 8
    tokens: int = STORED_TOKENS
    by: Literal["position", "rarity"] = "position"

    @property
    def name(self) -> str:
        """For tables: "64 x 4 bit, 48 by rarity"."""
        which = "all" if self.tokens >= STORED_TOKENS else f"{self.tokens} by {self.by}"
        return f"{self.width} x {self.bits} bit, {which}"

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector."""
        return self.width * self.bits // 8


BASELINE = Variant()


@dataclass(frozen=True)
class Stored:
    """Token vectors of some products as the index has them: int8 and their step, and each one's weight, float32 [N]."""

    vectors: Ragged
    step: float
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class Codes:
    """Stored vectors in a variant's form.

    basis: float32 [P, W], which turns a query's vectors too; step: of a code; packed: int8 rows where a number has
    eight bits, else uint8 rows of `vector_bytes`.
    """

    variant: Variant
    basis: NDArray[np.float32]
    step: float
    packed: Ragged

    @property
    def scale(self) -> float:
        """Step of what `unpacked` gives."""
        return self.step if self.variant.bits == 8 else self.step / 2

    def turned(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """A query's token vectors [..., P] in the basis [..., W], as long as they were."""
        made = unit(vectors @ self.basis) * np.linalg.norm(vectors, axis=-1, keepdims=True)
        turned: NDArray[np.float32] = made.astype(np.float32, copy=False)
        return turned

    def unpacked(self, packed: NDArray[Any]) -> NDArray[np.int8]:
        """Packed vectors [..., B] as int8 [..., W]: codes counted from the middle, in half steps."""
        bits = self.variant.bits
        if bits == 8:
            return packed
        levels = 1 << bits
        codes = np.concatenate([packed >> shift & levels - 1 for shift in range(0, 8, bits)], axis=-1)
        numbers: NDArray[np.int8] = 2 * codes.astype(np.int8) - np.int8(levels - 1)
        return numbers


def directions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Principal directions of vectors [N, P] without centring: columns of [P, P], leading first."""
    _, columns = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    return columns[:, ::-1].astype(np.float32)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors at length 1; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    made: NDArray[np.float32] = vectors / np.where(lengths > 0, lengths, 1)
    return made


def encode(stored: Stored, variant: Variant, principal: NDArray[np.float32]) -> Codes:
    """Bring stored vectors into a variant's form; the baseline's is as it was."""
    places, offsets = _kept(stored, variant)
    values = stored.vectors.values[places]
    if (variant.width, variant.bits) == (BASELINE.width, BASELINE.bits):
        return Codes(variant, np.eye(values.shape[1], dtype=np.float32), stored.step, Ragged(values, offsets))
    basis = principal[:, : variant.width]
    if variant.bits < 8:
        mixed, _ = np.linalg.qr(np.random.default_rng(SEED).standard_normal((variant.width, variant.width)))
        basis = (basis @ mixed).astype(np.float32)
    turned = unit(values.astype(np.float32) @ basis)
    if variant.bits == 8:
        step = float(np.abs(turned).max()) / INT8
        return Codes(variant, basis, step, Ragged(np.rint(turned / step).astype(np.int8), offsets))
    step = STEPS[variant.bits] / variant.width**0.5
    return Codes(variant, basis, step, Ragged(_packed(turned / step, variant.bits), offsets))


def _kept(stored: Stored, variant: Variant) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the vectors that stay, in order, and the offsets of the products among them."""
    offsets = stored.vectors.offsets
    lengths = np.diff(offsets)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(owner)) - offsets[owner]
    rank = place
    if variant.by == "rarity":
        order = np.lexsort((place, -stored.weights, owner))
        rank = np.empty_like(place)
        rank[order] = place  # the k-th of a product in this order has rank k
    kept = np.flatnonzero(rank < variant.tokens)
    return kept, np.concatenate([[0], np.cumsum(np.minimum(lengths, variant.tokens))]).astype(np.int64)


def _packed(steps: NDArray[np.float32], bits: int) -> NDArray[np.uint8]:
    """Numbers in steps [N, W] as codes, the first W x bits / 8 dimensions in the lowest bits of each byte."""
    half = 1 << bits - 1
    codes = np.clip(np.floor(steps) + half, 0, 2 * half - 1).astype(np.uint8)
    parts = np.split(codes, 8 // bits, axis=1)
    packed = np.zeros_like(parts[0])
    for place, part in enumerate(parts):
        packed |= part << np.uint8(place * bits)
    return packed


@dataclass(frozen=True)
class Found:
    """What retrieval found for the judged queries, once for all variants: by query text, token vectors left out.

    rows: of all candidates, sorted, int64 [R].
    """

    queries: dict[str, EncodedQuery]
    candidates: dict[str, Candidates]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Recoded(Retrieval):
    """Retrieval that hands out a variant's token vectors, of queries and of candidates."""

    found: Found
    codes: Codes

    def encode(self, query: str) -> EncodedQuery:
        """As the encoder would, if it projected to the variant's width."""
        known = self.found.queries[normalise(query)]
        return replace(known, token_vectors=self.codes.turned(known.token_vectors))

    def packed(self, query: str) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """Packed vectors of the candidates [C, T, B] and their lengths int32 [C]."""
        rows = self.found.candidates[query].rows
        return self.codes.packed.padded(np.where(rows < 0, -1, np.searchsorted(self.found.rows, rows)))

    def candidates(self, query: EncodedQuery) -> Candidates:
        """The candidates with their vectors as the ranker reads them."""
        packed, lengths = self.packed(query.text)
        return replace(self.found.candidates[query.text], tokens=self.codes.unpacked(packed), lengths=lengths)


def find(retrieval: Retrieval, some: Sequence[Example], console: Console) -> Found:
    """Search for the judged queries."""
    queries, candidates = {}, {}
    with progress(console) as bar:
        for example in bar.track(some, description="searching"):
            query = retrieval.encode(example.query)
            found = retrieval.candidates(query)
            queries[query.text] = query
            candidates[query.text] = replace(found, tokens=found.tokens[:, :0])
    rows = np.unique(np.concatenate([found.rows for found in candidates.values()]))
    return Found(queries, candidates, rows[rows >= 0].astype(np.int64))


def stored(retrieval: Retrieval, catalogue: Catalogue, rows: NDArray[np.int64], step: float) -> Stored:
    """The token vectors of some products, with the weight of each one's word piece.

    Raises:
        ArtefactError: the index is of another tokenizer or catalogue.
    """
    ids, mask = retrieval.pieces.products([catalogue.products[row].full_text for row in rows])
    index = retrieval.index.tokens
    ids, mask = ids[:, :STORED_TOKENS], mask[:, :STORED_TOKENS]
    lengths = np.diff(index.offsets)[rows]
    if len(index) != len(catalogue.products) or not np.array_equal(mask.sum(1), lengths):
        raise ArtefactError("the index holds other word pieces than tokenizer and catalogue give; build it again")
    vectors = Ragged(np.concatenate([index[row] for row in rows]), np.cumsum([0, *lengths], dtype=np.int64))
    return Stored(vectors, step, piece_weights(retrieval.encoder, ids[mask == 1]))


def piece_weights(encoder: onnxruntime.InferenceSession, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """How much the encoder lets each word piece int64 [N] weigh, float32 [N]: the length of its vector in any text."""
    pieces, places = np.unique(ids, return_inverse=True)
    padded = np.resize(pieces, (-(-len(pieces) // MAX_QUERY_TOKENS), MAX_QUERY_TOKENS))
    weights = []
    for row in padded:
        _, vectors = encoder.run(None, {"input_ids": row[None], "attention_mask": np.ones_like(row[None])})
        weights.append(np.linalg.norm(vectors[0], axis=-1))
    made: NDArray[np.float32] = np.concatenate(weights)[: len(pieces)][places].astype(np.float32)
    return made
