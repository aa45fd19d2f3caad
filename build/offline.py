"""The ensembles' steps in one process: the same files and the same library code as the server, without the server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval import CandidateIndex, Candidates, ProductPairs, Shortlist
from shelfbridge.retrieval.best import best
from shelfbridge.retrieval.index import DEPTH, fuse
from shelfbridge.retrieval.signals import FULL
from shelfbridge.text import lexical_tokens, normalise
from shelfbridge.wordpieces import WordPieces

Ranking = tuple[NDArray[Any], NDArray[Any]]
"""Rows, best first, and their scores."""


@dataclass(frozen=True)
class EncodedQuery:
    """A query after preprocess and encoder: ids and mask [1, S], embedding [D], token vectors [1, S, P]."""

    text: str
    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    embedding: NDArray[np.float32]
    token_vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Retrieval:
    """preprocess, encoder and retrieve."""

    pieces: WordPieces
    encoder: onnxruntime.InferenceSession
    index: CandidateIndex

    @classmethod
    def open(cls, tokenizer: Path, encoder: Path, index: Path) -> "Retrieval":
        """Open a tokenizer file, an encoder graph and an index folder."""
        return cls(WordPieces(tokenizer), session(encoder), CandidateIndex.open(index))

    def encode(self, query: str) -> EncodedQuery:
        """What the encoder makes of a query."""
        text = normalise(query)
        ids, mask = self.pieces.queries([text])
        embedding, token_vectors = self.encoder.run(None, {"input_ids": ids, "attention_mask": mask})
        return EncodedQuery(text, ids, mask, embedding[0], token_vectors)

    def candidates(self, query: EncodedQuery) -> Candidates:
        """Candidates for the ranker."""
        return self.index.search(query.text, query.embedding)

    def parts(self, query: EncodedQuery) -> dict[str, Ranking]:
        """Rankings by BM25 alone, by cosine alone, and of the fusion that finds the candidates."""
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
    """All steps of `search` and `search_deep`."""

    retrieval: Retrieval
    ranker: onnxruntime.InferenceSession
    pairs: ProductPairs
    cross_encoder: onnxruntime.InferenceSession

    @classmethod
    def open(
        cls, *, tokenizer: Path, encoder: Path, index: Path, ranker: Path, pieces: Path, cross_encoder: Path
    ) -> "Ensembles":
        """Open the folders of all steps, and three graphs."""
        return cls(
            retrieval=Retrieval.open(tokenizer / "tokenizer.json", encoder, index),
            ranker=session(ranker),
            pairs=ProductPairs.open(pieces),
            cross_encoder=session(cross_encoder, threads=0),
        )

    def rankings(self, query: str) -> dict[str, Ranking]:
        """The ranking that each stage gives: lexical, dense, fused, ranked, deep."""
        encoded = self.retrieval.encode(query)
        found = self.retrieval.candidates(encoded)
        scores = self.scores(encoded, found)
        return {
            **self.retrieval.parts(encoded),
            "ranked": ordered(found.rows, scores),
            "deep": ordered(*self.read(self._shortlist(encoded, found, scores))),
        }

    def ranked(self, query: str) -> Ranking:
        """What `search` answers."""
        encoded = self.retrieval.encode(query)
        found = self.retrieval.candidates(encoded)
        return ordered(found.rows, self.scores(encoded, found))

    def deep(self, query: str) -> Ranking:
        """What `search_deep` answers."""
        return ordered(*self.read(self.shortlist(query)))

    def shortlist(self, query: str) -> Shortlist:
        """What the cross-encoder is shown."""
        encoded = self.retrieval.encode(query)
        found = self.retrieval.candidates(encoded)
        return self._shortlist(encoded, found, self.scores(encoded, found))

    def read(self, shown: Shortlist) -> Ranking:
        """Rows [C], as they are in the shortlist, and the scores that the cross-encoder leaves them."""
        (scores,) = self.cross_encoder.run(None, deep_inputs(shown))
        return shown.rows, scores[0]

    def scores(self, query: EncodedQuery, found: Candidates) -> NDArray[np.float32]:
        """The ranker's scores [C]."""
        (scores,) = self.ranker.run(None, ranker_inputs(query, found))
        first: NDArray[np.float32] = scores[0]
        return first

    def _shortlist(self, query: EncodedQuery, found: Candidates, scores: NDArray[np.float32]) -> Shortlist:
        return self.pairs.shortlist(query.input_ids[0], query.attention_mask[0], found.rows, scores)


def deep_inputs(best: Shortlist) -> dict[str, NDArray[Any]]:
    """The cross-encoder's inputs for one query."""
    return {
        "pair_ids": best.pair_ids[None],
        "pair_types": best.pair_types[None],
        "pair_mask": best.pair_mask[None],
        "sorted_scores": best.scores[None],
    }


def ranker_inputs(query: EncodedQuery, found: Candidates) -> dict[str, NDArray[Any]]:
    """The ranker's inputs for one query."""
    return {
        "token_vectors": query.token_vectors,
        "candidate_tokens": found.tokens[None],
        "candidate_lengths": found.lengths[None],
        "candidate_cosines": found.cosines[None],
        "signals": found.signals[None],
    }


def session(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """An onnxruntime session on the CPU; 0 threads means one per core.

    Raises:
        ArtefactError: the file is missing or damaged.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common root
        raise ArtefactError(f"{path} cannot be loaded ({str(error).splitlines()[0]}); build it again") from error


def ordered(rows: NDArray[Any], scores: NDArray[Any]) -> Ranking:
    """Candidates without the padding, best first, ties by row."""
    known = rows >= 0
    rows, scores = rows[known], scores[known]
    order = np.lexsort((rows, -scores))
    return rows[order], scores[order]
