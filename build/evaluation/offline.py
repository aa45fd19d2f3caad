"""The served steps, run offline: for training features, calibration and evaluation.

Nothing is computed here. The steps are the objects of `shelfbridge.steps` that answer shoppers, on stage results that
are no release yet and with networks that may take another's place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from shelfbridge.contract import (
    ATTENTION_MASK,
    CANDIDATE_COSINES,
    CANDIDATE_LENGTHS,
    CANDIDATE_ROWS,
    CANDIDATE_SIGNALS,
    CANDIDATE_TOKENS,
    EMBEDDING,
    INPUT_IDS,
    QUERY,
    REQUEST,
    SCORES,
)
from shelfbridge.graph import open_session
from shelfbridge.release import Snapshot
from shelfbridge.request import SearchRequest
from shelfbridge.retrieval import CandidateIndex, Candidates, ProductPairs, Shortlist
from shelfbridge.retrieval.best import best
from shelfbridge.retrieval.index import DEPTH, fuse
from shelfbridge.retrieval.signals import FULL
from shelfbridge.services import Services
from shelfbridge.steps import Arrays, Inputs, Outputs, Step, strings
from shelfbridge.steps.postprocess import order
from shelfbridge.steps.preprocess import Preprocess
from shelfbridge.steps.retrieve import Retrieve
from shelfbridge.steps.shortlist import Shortlist as ShortlistStep
from shelfbridge.text import lexical_tokens
from shelfbridge.wordpieces import WordPieces

Network = Literal["encoder", "ranker", "cross_encoder"]
Ranking = tuple[NDArray[Any], NDArray[Any]]
"""Rows, best first, and their scores."""
SERVICES = Services()
session = open_session


@dataclass(frozen=True)
class EncodedQuery:
    """A query after preprocess and encoder: ids and mask [1, S], embedding [D], token vectors [1, S, P]."""

    text: str
    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    embedding: NDArray[np.float32]
    token_vectors: NDArray[np.float32]

    @property
    def request(self) -> NDArray[np.object_]:
        """The checked request, as the later steps get it."""
        return strings([SearchRequest(text=self.text).model_dump_json()])

    @property
    def pieces(self) -> NDArray[np.int64]:
        """Word pieces without padding, int64 [S]."""
        found: NDArray[np.int64] = self.input_ids[0][self.attention_mask[0] == 1]
        return found


@dataclass(frozen=True)
class Retrieval:
    """preprocess, encoder and retrieve."""

    pieces: WordPieces
    encoder: onnxruntime.InferenceSession
    index: CandidateIndex

    @classmethod
    def open(cls, tokenizer: Path, graph: Path, index: Path) -> "Retrieval":
        """Open a tokenizer, an encoder's graph and an index: folders, or the files of the first two."""
        return cls(
            WordPieces(_in(tokenizer, "tokenizer.json")), session(_in(graph, "model.onnx")), CandidateIndex.open(index)
        )

    @property
    def now(self) -> Snapshot:
        """What the steps read."""
        return Snapshot(None, {"words": self.pieces, "index": self.index})

    def encode(self, query: str) -> EncodedQuery:
        """Return what preprocess and the encoder make of a query.

        Raises:
            InvalidQuery: no server would answer it.
        """
        made = Preprocess(SERVICES).run({QUERY.name: strings([query])}, self.now)
        ids, mask = made[INPUT_IDS.name][None], made[ATTENTION_MASK.name][None]
        embedding, vectors = self.encoder.run(None, {INPUT_IDS.name: ids, ATTENTION_MASK.name: mask})
        text = SearchRequest.model_validate_json(made[REQUEST.name].item()).text
        return EncodedQuery(text, ids, mask, embedding[0], vectors)

    def candidates(self, query: EncodedQuery) -> Candidates:
        """Return the candidates for the ranker."""
        made = _answer(Retrieve(SERVICES), {REQUEST.name: query.request, EMBEDDING.name: query.embedding}, self.now)
        tensors = (CANDIDATE_ROWS, CANDIDATE_SIGNALS, CANDIDATE_TOKENS, CANDIDATE_LENGTHS, CANDIDATE_COSINES)
        return Candidates(*(made[tensor] for tensor in tensors))

    def parts(self, query: EncodedQuery) -> dict[str, Ranking]:
        """Return rankings by BM25 alone, by cosine alone, and of the fusion that finds the candidates."""
        lexicon = self.index.lexicon
        plain = lexicon.numbers(dict.fromkeys(lexical_tokens(query.text)))
        dense = self.index.dense(query.embedding)
        parts = {
            "lexical": best(lexicon.index, [FULL], plain, DEPTH),
            "dense": dense,
            "fused": fuse(lexicon.best(lexicon.words(query.text), DEPTH), dense),
        }
        return {name: (rows, -np.arange(len(rows), dtype=np.float32)) for name, rows in parts.items()}


@dataclass(frozen=True)
class Ensembles:
    """All steps of `search` and `search_deep`, up to the order of the products."""

    retrieval: Retrieval
    ranker: onnxruntime.InferenceSession
    pairs: ProductPairs
    cross_encoder: onnxruntime.InferenceSession

    @classmethod
    def open(
        cls, *, tokenizer: Path, graph: Path, index: Path, ranker_graph: Path, pieces: Path, reader_graph: Path
    ) -> "Ensembles":
        """Open the folders of all steps; graphs may be files."""
        return cls(
            retrieval=Retrieval.open(tokenizer, graph, index),
            ranker=session(_in(ranker_graph, "model.onnx")),
            pairs=ProductPairs.open(pieces),
            cross_encoder=session(_in(reader_graph, "model.onnx"), threads=0),
        )

    def with_networks(self, networks: Mapping[Network, Any]) -> "Ensembles":
        """Return the same steps with other networks: sessions, graphs' files, or the folders of these."""
        others = {
            network: session(_in(one, "model.onnx")) if isinstance(one, Path) else one
            for network, one in networks.items()
        }
        encoder = others.pop("encoder", self.retrieval.encoder)
        return replace(self, retrieval=replace(self.retrieval, encoder=encoder), **others)

    def rankings(self, query: str, *, deep: bool = True) -> dict[str, Ranking]:
        """Return the ranking that each stage gives: lexical, dense, fused, ranked, and deep unless it is left out."""
        encoded = self.retrieval.encode(query)
        found = self.retrieval.candidates(encoded)
        scores = self.scores(encoded, found)
        made = {**self.retrieval.parts(encoded), "ranked": ordered(found.rows, scores)}
        return made | {"deep": ordered(*self.read(self._shortlist(encoded, found, scores)))} if deep else made

    def ranked(self, query: str) -> Ranking:
        """Return what `search` answers."""
        encoded = self.retrieval.encode(query)
        found = self.retrieval.candidates(encoded)
        return ordered(found.rows, self.scores(encoded, found))

    def deep(self, query: str) -> Ranking:
        """Return what `search_deep` answers."""
        return ordered(*self.read(self.shortlist(query)))

    def shortlist(self, query: str) -> Shortlist:
        """Return what the cross-encoder is shown."""
        encoded = self.retrieval.encode(query)
        found = self.retrieval.candidates(encoded)
        return self._shortlist(encoded, found, self.scores(encoded, found))

    def read(self, shown: Shortlist) -> Ranking:
        """Return rows [C], as they are in the shortlist, and the scores that the cross-encoder leaves them."""
        (scores,) = self.cross_encoder.run(None, deep_inputs(shown))
        return shown.rows, scores[0]

    def scores(self, query: EncodedQuery, found: Candidates) -> NDArray[np.float32]:
        """Return the ranker's scores [C]."""
        (scores,) = self.ranker.run(None, ranker_inputs(query, found))
        first: NDArray[np.float32] = scores[0]
        return first

    def _shortlist(self, query: EncodedQuery, found: Candidates, scores: NDArray[np.float32]) -> Shortlist:
        given = {
            INPUT_IDS.name: query.input_ids[0],
            ATTENTION_MASK.name: query.attention_mask[0],
            CANDIDATE_ROWS.name: found.rows,
            SCORES.name: scores,
        }
        made = _answer(ShortlistStep(SERVICES), given, Snapshot(None, {"pairs": self.pairs}))
        return Shortlist(*made.values())


def _in(place: Path, name: str) -> Path:
    """Return a file, or the one of a name in a folder."""
    return place / name if place.is_dir() else place


def _answer(step: Step, given: Arrays, now: Snapshot) -> Outputs:
    return step.answer(Inputs(given, 0), now)


def deep_inputs(best: Shortlist) -> dict[str, NDArray[Any]]:
    """Return the cross-encoder's inputs for one query."""
    return {
        "pair_ids": best.pair_ids[None],
        "pair_types": best.pair_types[None],
        "pair_mask": best.pair_mask[None],
        "sorted_scores": best.scores[None],
    }


def ranker_inputs(query: EncodedQuery, found: Candidates) -> dict[str, NDArray[Any]]:
    """Return the ranker's inputs for one query."""
    return {
        "token_vectors": query.token_vectors,
        "candidate_tokens": found.tokens[None],
        "candidate_lengths": found.lengths[None],
        "candidate_cosines": found.cosines[None],
        "signals": found.signals[None],
    }


def ordered(rows: NDArray[Any], scores: NDArray[Any]) -> Ranking:
    """Return candidates without the padding, best first, ties by row, as the last step orders them."""
    places = order(rows, scores)[: np.count_nonzero(rows >= 0)]
    return rows[places], scores[places]
