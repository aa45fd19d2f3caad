"""Catalogues that outgrow one machine: the vectors in Milvus, or in a .db file of Milvus Lite.

A collection is named after its content and never changed, so releases that are served side by side do not meet.
Those of releases that are gone are yours to drop. `SHELFBRIDGE_MILVUS_TOKEN` holds the credentials, if any.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from shelfbridge.errors import ArtefactError, PrerequisiteError, VectorsUnavailable
from shelfbridge.retrieval.vectors import tuning
from shelfbridge.retrieval.vectors.approximate import SHARES, list_count

CHUNK = 5000
"""Vectors sent at a time: Milvus takes 64 MB a message."""
LISTS = 128
"""Fewest lists: Milvus Lite makes so many, whatever it is told."""
TIMEOUT = 10.0
"""Seconds that Milvus has for an answer while a release is built or opened."""
SEARCH_TIMEOUT = "SHELFBRIDGE_MILVUS_TIMEOUT"
"""Environment variable: seconds that it has for an answer to a search."""
SEARCH_S = 1.0
"""Seconds that it has where the environment does not say."""
REST_S = 1.0
"""Seconds for which it is not asked again after it did not answer, so that one search a second waits for it at most."""


class MilvusVectors:
    """A collection with an IVF_FLAT index by inner product; the primary key is the row."""

    def __init__(self, client: Any, uri: str, record: dict[str, Any]) -> None:
        self.client, self.uri, self.name = client, uri, record["collection"]
        self.count, self.width, self.lists, self.probes = (
            int(record[key]) for key in ("count", "width", "lists", "probes")
        )
        self._away_until = 0.0
        self._thread, self._waiting = ThreadPoolExecutor(1, "milvus"), cast("Future[Any] | None", None)
        self._patience = float(os.environ.get(SEARCH_TIMEOUT) or SEARCH_S)

    def __len__(self) -> int:
        return self.count

    def search(
        self, query: NDArray[np.float32], depth: int, allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """As `Vectors.search`; all that a filter allows is compared.

        A filter travels as a list of rows, so one that halves a large catalogue is slow.
        """
        if allowed is None or allowed.all():
            return self._search(query, depth, self.probes)
        return self._search(query, depth, self.lists, narrowing(allowed)) if allowed.any() else np.empty(0, np.int64)

    def _search(self, query: NDArray[np.float32], depth: int, probes: int, narrowed: str = "") -> NDArray[np.int64]:
        how = {"search_params": {"params": {"nprobe": probes}}, "output_fields": ["row"]}
        (hits,) = self._asked("search", self.name, [query], limit=min(depth, self.count), filter=narrowed, **how)
        return np.array([hit["row"] for hit in hits], np.int64)

    def _asked(self, call: str, *args: Any, **named: Any) -> Any:
        """Return what Milvus answers to a call of its client.

        The client looks for a new connection for as long as it pleases, so a thread waits for it and the search does
        not. Until that thread is back, and for `REST_S` after a failure, Milvus is not asked.

        Raises:
            VectorsUnavailable: it does not answer in time.
        """
        if self._waiting is not None and not self._waiting.done():
            self._away_until = time.monotonic() + REST_S
        if time.monotonic() < self._away_until:
            raise VectorsUnavailable(f"Milvus at {self.uri} does not answer and is asked again within {REST_S:g} s")
        self._waiting = self._thread.submit(getattr(self.client, call), *args, **named, timeout=self._patience)
        try:
            with explained(self.uri):
                return self._waiting.result(self._patience)
        except (ArtefactError, TimeoutError) as error:
            self._away_until = time.monotonic() + REST_S
            said = str(error) or f"Milvus at {self.uri} does not answer within {self._patience:g} s"
            raise VectorsUnavailable(said) from error

    def fetch(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """As `Vectors.fetch`."""
        got = self._asked("get", self.name, ids=rows.tolist(), output_fields=["row", "vector"])
        vectors = {one["row"]: one["vector"] for one in got}
        return np.array([vectors[row] for row in rows.tolist()], np.float32).reshape(-1, self.width)

    @classmethod
    def write(cls, vectors: NDArray[np.float32], queries: NDArray[np.float32], uri: str) -> dict[str, Any]:
        """Make the collection of vectors [N, D], unless it is there; choose the probes by queries [Q, D].

        Returns:
            The record that `open` takes.
        """
        count, width = vectors.shape
        name = f"shelfbridge_{hashlib.sha256(vectors.data).hexdigest()[:16]}"
        client, lists = connect(uri), max(LISTS, list_count(count))
        record = {"in": "milvus", "uri": uri, "collection": name, "count": count, "width": width, "lists": lists}
        with explained(uri):
            if client.has_collection(name) and held(client, name) != (count, width):
                client.drop_collection(name)  # left by a build that was stopped
            if not client.has_collection(name):
                fill(client, name, vectors, lists)
            client.load_collection(name)
        made = cls(client, uri, record | {"probes": lists})
        made._patience = TIMEOUT
        probes, recall = tuning.choose(
            sorted({*(-(-lists // share) for share in SHARES), lists}),
            lambda probes, query: made._search(query, tuning.AT, probes),
            tuning.Truth.of(vectors, queries),
        )
        return record | {"probes": probes, "recall_at_100": round(recall, 4), "queries": len(queries)}

    @classmethod
    def open(cls, record: dict[str, Any], uri: str) -> "MilvusVectors":
        """Connect to what `write` made."""
        client, name, wanted = connect(uri), record["collection"], (record["count"], record["width"])
        cure = "set SHELFBRIDGE_MILVUS_URI to the Milvus that the release was built with, or build into a new folder"
        with explained(uri):
            if not client.has_collection(name):
                raise ArtefactError(f"Milvus at {uri} has no collection {name}; {cure}")
            if (there := held(client, name)) != wanted:
                what = "{} vectors of width {}, not {} of {}".format(*there, *wanted)
                raise ArtefactError(f"collection {name} of Milvus at {uri} holds {what}; {cure}")
            client.load_collection(name)
        return cls(client, uri, record)


def connect(uri: str) -> Any:
    """A client of Milvus."""
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise PrerequisiteError("vectors in Milvus need its client; pip install pymilvus") from error
    with explained(uri):
        return MilvusClient(uri, token=os.environ.get("SHELFBRIDGE_MILVUS_TOKEN", ""), timeout=TIMEOUT)


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Give what Milvus raises a cure."""
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        cure = "see that it runs and is reached, and that SHELFBRIDGE_MILVUS_URI and SHELFBRIDGE_MILVUS_TOKEN are right"
        raise ArtefactError(f"Milvus at {uri} does not answer as it should ({error.message}); {cure}") from error


def fill(client: Any, name: str, vectors: NDArray[np.float32], lists: int) -> None:
    """Make a collection of vectors [N, D]."""
    from pymilvus import DataType

    schema, index = client.create_schema(auto_id=False), client.prepare_index_params()
    schema.add_field("row", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
    index.add_index("vector", index_type="IVF_FLAT", metric_type="IP", params={"nlist": lists})
    client.create_collection(name, schema=schema, index_params=index)
    for start in range(0, len(vectors), CHUNK):
        part = enumerate(vectors[start : start + CHUNK], start)
        client.insert(name, [{"row": row, "vector": vector} for row, vector in part])
    client.flush(name)


def held(client: Any, name: str) -> tuple[int, int]:
    """How many vectors a collection holds, and their width; 0 where it has no such field."""
    fields = {field["name"]: field["params"] for field in client.describe_collection(name)["fields"]}
    return int(client.get_collection_stats(name)["row_count"]), int(fields.get("vector", {}).get("dim", 0))


def narrowing(allowed: NDArray[np.bool_]) -> str:
    """Milvus's form of a filter [N]: the rows that are allowed, or those that are not if they are fewer."""
    rows, others = np.flatnonzero(allowed), np.flatnonzero(~allowed)
    return f"row in {rows.tolist()}" if len(rows) <= len(others) else f"row not in {others.tolist()}"
