"""The tensors that travel between the steps of the ensembles.

The one source for names, dtypes, shapes and limits. The `config.pbtxt` files are held against it by a test, and
the client, the Python steps and the exporters read it. Shapes leave out the batch dimension; -1 is a length that
varies.
"""

from dataclasses import dataclass

MAX_QUERY_CHARS = 512
"""A longer query is refused: shoppers do not write them, and attackers do."""
MAX_QUERY_TOKENS = 64
"""Word pieces, [CLS] and [SEP] included; what a permitted query has beyond this is cut off."""
DEFAULT_K = 10
CANDIDATES = 100
"""Candidates that retrieval hands to the ranker. Fewer (a narrow filter) are padded with row -1."""
MAX_K = CANDIDATES
SHORTLIST = 20
"""Best candidates that `search_deep` shows to the cross-encoder."""
PRODUCT_TOKENS = 128
"""Most word pieces that the encoder reads of a product."""
STORED_TOKENS = 64
"""Most token vectors stored for a product, of its first pieces: no worse than all of them on ESCI (frontier)."""
PAIR_TOKENS = 96
"""Most word pieces of a query and a product together, as the cross-encoder reads them."""
EMBEDDING_WIDTH = 384
"""Width of the default encoder; a release made from another base carries its own in its configs."""
TOKEN_WIDTH = 64
"""Width of a token vector after the projection: with `STORED_TOKENS` a quarter of what 128 of all pieces take."""

SIGNALS = (
    "bm25",
    "bm25_title",
    "coverage",
    "coverage_title",
    "coverage_category",
    "complete",
    "numbers",
    "denied_title",
    "denial_met",
    "title_length",
    "popularity",
    "cosine",
)
"""What retrieval knows of each candidate beside its token vectors, in the order of the `signals` tensor.
Defined in `shelfbridge.retrieval.signals`."""


@dataclass(frozen=True)
class Tensor:
    """A named tensor: Triton's data type without the TYPE_ prefix, and dims without the batch."""

    name: str
    dtype: str
    dims: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True)
class Model:
    """A model of the repository as its neighbours see it."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


QUERY = Tensor("query", "STRING", (1,))
K = Tensor("k", "INT32", (1,), optional=True)
FILTERS = Tensor("filters", "STRING", (1,), optional=True)
USER = Tensor("user", "STRING", (1,), optional=True)
WITH_PAYLOAD = Tensor("with_payload", "BOOL", (1,), optional=True)

REQUEST = Tensor("request", "STRING", (1,))
"""The checked request, as `shelfbridge.request.SearchRequest` JSON: after preprocess nothing is optional."""
INPUT_IDS = Tensor("input_ids", "INT64", (-1,))
ATTENTION_MASK = Tensor("attention_mask", "INT64", (-1,))
TIMELINE = Tensor("timeline", "INT64", (-1,))
"""Monotonic nanoseconds of this host, two per Python step: begun, done."""

EMBEDDING = Tensor("embedding", "FP32", (EMBEDDING_WIDTH,))
"""Unit vector of the query."""
TOKEN_VECTORS = Tensor("token_vectors", "FP32", (-1, TOKEN_WIDTH))
"""Vector per word piece of the query, as long as the piece is rare in the catalogue; zero where there is padding."""

CANDIDATE_ROWS = Tensor("candidate_rows", "INT32", (CANDIDATES,))
"""Rows of the index; -1 is padding."""
CANDIDATE_SIGNALS = Tensor("signals", "FP32", (CANDIDATES, len(SIGNALS)))
CANDIDATE_TOKENS = Tensor("candidate_tokens", "INT8", (CANDIDATES, -1, TOKEN_WIDTH))
CANDIDATE_LENGTHS = Tensor("candidate_lengths", "INT32", (CANDIDATES,))
CANDIDATE_COSINES = Tensor("candidate_cosines", "FP32", (CANDIDATES, CANDIDATES))
"""Of each candidate with each, best of the fusion first: the company it keeps."""
SCORES = Tensor("scores", "FP32", (CANDIDATES,))

PAIR_IDS = Tensor("pair_ids", "INT64", (SHORTLIST, -1))
PAIR_TYPES = Tensor("pair_types", "INT64", (SHORTLIST, -1))
"""0 for the query's word pieces, 1 for the product's."""
PAIR_MASK = Tensor("pair_mask", "INT64", (SHORTLIST, -1))
SORTED_ROWS = Tensor("sorted_rows", "INT32", (CANDIDATES,))
"""Candidate rows, best first by the ranker."""
SORTED_SCORES = Tensor("sorted_scores", "FP32", (CANDIDATES,))

PRODUCT_IDS = Tensor("product_ids", "STRING", (-1,))
HIT_SCORES = Tensor("hit_scores", "FP32", (-1,))
PAYLOAD = Tensor("payload", "STRING", (-1,))
"""One JSON object per product where the caller asked for it, else nothing (length 0)."""
STEP_TIMES = Tensor("step_times", "FP32", (-1,))
"""Milliseconds per entry of the ensemble's steps, in order; the wait before a model step is counted in it."""

STEPS = {
    "search": ("preprocess", "encoder", "retrieve", "ranker", "postprocess"),
    "search_deep": ("preprocess", "encoder", "retrieve", "ranker", "shortlist", "cross_encoder", "postprocess"),
}
"""The models of each ensemble, in the order a query meets them."""

_ENSEMBLE_INPUTS = (QUERY, K, FILTERS, USER, WITH_PAYLOAD)
_ENSEMBLE_OUTPUTS = (PRODUCT_IDS, HIT_SCORES, PAYLOAD, STEP_TIMES)

MODELS = {
    model.name: model
    for model in (
        Model("preprocess", _ENSEMBLE_INPUTS, (REQUEST, INPUT_IDS, ATTENTION_MASK, TIMELINE)),
        Model("encoder", (INPUT_IDS, ATTENTION_MASK), (EMBEDDING, TOKEN_VECTORS)),
        Model(
            "retrieve",
            (REQUEST, EMBEDDING, TIMELINE),
            (CANDIDATE_ROWS, CANDIDATE_SIGNALS, CANDIDATE_TOKENS, CANDIDATE_LENGTHS, CANDIDATE_COSINES, TIMELINE),
        ),
        Model(
            "ranker",
            (TOKEN_VECTORS, CANDIDATE_TOKENS, CANDIDATE_LENGTHS, CANDIDATE_COSINES, CANDIDATE_SIGNALS),
            (SCORES,),
        ),
        Model(
            "shortlist",
            (INPUT_IDS, ATTENTION_MASK, CANDIDATE_ROWS, SCORES, TIMELINE),
            (PAIR_IDS, PAIR_TYPES, PAIR_MASK, SORTED_ROWS, SORTED_SCORES, TIMELINE),
        ),
        Model("cross_encoder", (PAIR_IDS, PAIR_TYPES, PAIR_MASK, SORTED_SCORES), (SCORES,)),
        Model("postprocess", (REQUEST, CANDIDATE_ROWS, SCORES, TIMELINE), _ENSEMBLE_OUTPUTS),
        Model("search", _ENSEMBLE_INPUTS, _ENSEMBLE_OUTPUTS),
        Model("search_deep", _ENSEMBLE_INPUTS, _ENSEMBLE_OUTPUTS),
    )
}
