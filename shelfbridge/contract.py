"""The tensors that travel between the steps of the ensembles.

The one source for names, dtypes, shapes and limits. The `config.pbtxt` files are held against it by a test, and
the client, the Python steps and the exporters read it. Shapes leave out the batch dimension; -1 is a length that
varies.
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

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

SHELF_WIDTH = 64
"""Numbers of a shopper's vector, and of a product's that it is multiplied with."""
SHELF_EVENTS = 50
"""Latest events that the user encoder reads."""
SHELF_CANDIDATES = 400
"""Most candidates of a shelf. Fewer are padded with row -1."""
SHELF_SIGNALS = (
    "affinity",
    "association",
    "company",
    "owned",
    "times",
    "last",
    "due",
    "popular",
    "trend",
    "price",
    "cosine",
    "cosines",
    "bought",
    "visited",
)
"""What is known of a shelf's candidate, in the order of the `shelf_signals` tensor. Defined in
`shelfbridge.shelf.signals`."""
Shelf = Literal["for_you", "goes_with", "buy_again", "popular"]
"""Kinds of shelf. `popular` is also what a stranger is shown who asked for another."""


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
    batched: bool = True
    """Whether its tensors have a batch dimension before `dims`."""


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
"""Milliseconds per entry of the ensemble's steps, in order; the wait before a model step is counted in it. Where the
steps are models of their own, `search_personal` runs some side by side: their time is in the entry that waits for them.
"""

USER_TOKEN = Tensor("user_token", "STRING", (1,), optional=True)
"""Proof that the request is the user's (`profiles.Pseudonyms.token`); settings say whether it must come."""
ITEMS = Tensor("items", "STRING", (-1,), optional=True)
"""Ids of products that the shopper just looked at, the latest last: a session without a user."""
WITH_ITEM = Tensor("with_item", "STRING", (1,), optional=True)
"""Id of the product that the shelf stands beside."""
SHELF = Tensor("shelf", "STRING", (1,), optional=True)
"""A `Shelf`; `goes_with` where `with_item` is given and none is named, else `for_you`."""

SHELF_REQUEST = Tensor("shelf_request", "STRING", (1,))
"""The checked request, as `shelfbridge.shelf.request.ShelfRequest` JSON."""
SHOPPER = Tensor("shopper", "STRING", (1,))
"""What is known of the shopper, as `shelfbridge.shelf.shopper` writes and reads it; rows in place of product ids."""
EVENT_VECTORS = Tensor("event_vectors", "FP32", (-1, SHELF_WIDTH))
"""Of the products of the latest events, the latest last; one event of zeros where there is none."""
EVENT_AGES = Tensor("event_ages", "FP32", (-1,))
"""Days since each."""
EVENT_KINDS = Tensor("event_kinds", "INT64", (-1,))
"""Places in `shelf.history.KINDS`."""
EVENT_MASK = Tensor("event_mask", "INT64", (-1,))
"""1 where there is an event."""
USER_VECTOR = Tensor("user_vector", "FP32", (SHELF_WIDTH,))
SHELF_ROWS = Tensor("shelf_rows", "INT32", (SHELF_CANDIDATES,))
"""Rows of `shelf.assortment.Assortment`; -1 is padding."""
SHELF_SIGNALS_TENSOR = Tensor("shelf_signals", "FP32", (SHELF_CANDIDATES, len(SHELF_SIGNALS)))
SHELF_SCORES = Tensor("shelf_scores", "FP32", (SHELF_CANDIDATES,))
SHOWN = Tensor("shown", "STRING", (1,))
"""The `Shelf` that is really shown."""
EXPLORED = Tensor("explored", "BOOL", (-1,))
"""Per product, whether it stands there to be tried out rather than for its score."""

EVENTS = Tensor("events", "STRING", (-1,))
"""One `profiles.Event` a row, as JSON."""
USER_TOKENS = Tensor("user_tokens", "STRING", (-1,), optional=True)
"""A `user_token` for each row; empty where there is none."""
ACCEPTED = Tensor("accepted", "BOOL", (-1,))
"""Per row, whether it is kept; then it survives a crash."""
REASONS = Tensor("reasons", "STRING", (-1,))
"""Per row, why it was refused; empty where it is kept."""
WANTED_USER = Tensor("user", "STRING", (1,))
ACTION = Tensor("action", "STRING", (1,))
"""`export` or `forget`."""
RECORD = Tensor("record", "STRING", (1,))
"""All that was kept of the user, as JSON."""

PERMISSION = "permission: "
"""How the message begins of a request that is refused for want of rights, as INVALID_ARGUMENT."""
OVERLOADED = "overloaded: "
"""The same of one that is shed, as UNAVAILABLE: a client does not send it again."""
STORE_AWAY = "the store of profiles does not answer"
"""The same of one that could not be kept or looked up, as UNAVAILABLE."""

CACHED = ("search", "search_deep")
"""Ensembles whose answers may be kept: they come of the request and the catalogue alone."""
OF_SHELVES = (
    "recommend",
    "search_personal",
    "profile",
    "user_encoder",
    "shelf_candidates",
    "shelf_ranker",
    "shelf",
    "taste",
    "personal",
)
"""Models that only a release built with interactions has."""
STEPS = {
    "search": ("preprocess", "encoder", "retrieve", "ranker", "postprocess"),
    "search_deep": ("preprocess", "encoder", "retrieve", "ranker", "shortlist", "cross_encoder", "postprocess"),
    "search_personal": (
        *("preprocess", "encoder", "profile", "user_encoder", "retrieve", "ranker", "taste", "shelf_ranker"),
        "personal",
    ),
    "recommend": ("profile", "user_encoder", "shelf_candidates", "shelf_ranker", "shelf"),
}
"""The models of each ensemble, in the order a query meets them."""

_ENSEMBLE_INPUTS = (QUERY, K, FILTERS, USER, WITH_PAYLOAD)
_ENSEMBLE_OUTPUTS = (PRODUCT_IDS, HIT_SCORES, PAYLOAD, STEP_TIMES)
_PERSONAL_INPUTS = (QUERY, K, FILTERS, USER, USER_TOKEN, ITEMS, WITH_PAYLOAD)
_SHELF_INPUTS = (USER, USER_TOKEN, ITEMS, WITH_ITEM, SHELF, K, FILTERS, WITH_PAYLOAD)
_SHELF_OUTPUTS = (PRODUCT_IDS, HIT_SCORES, PAYLOAD, SHOWN, EXPLORED, STEP_TIMES)
_EVENT_INPUTS = (EVENT_VECTORS, EVENT_AGES, EVENT_KINDS, EVENT_MASK)

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
        Model(
            "profile",
            (*_SHELF_INPUTS, replace(TIMELINE, optional=True)),
            (SHELF_REQUEST, SHOPPER, *_EVENT_INPUTS, TIMELINE),
        ),
        Model("user_encoder", _EVENT_INPUTS, (USER_VECTOR,)),
        Model(
            "shelf_candidates",
            (SHELF_REQUEST, SHOPPER, USER_VECTOR, TIMELINE),
            (SHELF_ROWS, SHELF_SIGNALS_TENSOR, TIMELINE),
        ),
        Model("shelf_ranker", (SHELF_SIGNALS_TENSOR,), (SHELF_SCORES,)),
        Model("shelf", (SHELF_REQUEST, SHELF_ROWS, SHELF_SIGNALS_TENSOR, SHELF_SCORES, TIMELINE), _SHELF_OUTPUTS),
        Model("recommend", _SHELF_INPUTS, _SHELF_OUTPUTS),
        Model("taste", (SHOPPER, USER_VECTOR, CANDIDATE_ROWS, TIMELINE), (SHELF_SIGNALS_TENSOR, TIMELINE)),
        Model("personal", (REQUEST, SHOPPER, CANDIDATE_ROWS, SCORES, SHELF_SCORES, TIMELINE), _ENSEMBLE_OUTPUTS),
        Model("search_personal", _PERSONAL_INPUTS, _ENSEMBLE_OUTPUTS),
        Model("events", (EVENTS, USER_TOKENS), (ACCEPTED, REASONS), batched=False),
        Model("privacy", (WANTED_USER, USER_TOKEN, ACTION), (RECORD,), batched=False),
    )
}

FORMAT = 1
"""Raised when files of a release, or what a tensor means, change without a change of the tensors."""
IDENTITY = sha256(repr((FORMAT, MODELS, SIGNALS, SHELF_SIGNALS)).encode()).hexdigest()[:12]
"""What a release was made for: one of another identity is refused when it is opened."""
IDENTITY_FILE = "contract.txt"
"""File in a model's version folder that holds the identity."""
