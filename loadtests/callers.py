"""One search at each contender, as the shop's own program would make it: a query to product ids, best first."""

import base64
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import aiohttp
import faiss
import numpy as np

from shelfbridge.client import AsyncSearchClient, AsyncShopperClient
from shelfbridge.contract import Shelf

TIMEOUT_S = 120.0


class Caller(ABC):
    """A connection to a contender, as a context."""

    @abstractmethod
    async def search(self, query: str, k: int) -> list[str]:
        """Return the ids of the best k products."""

    @abstractmethod
    async def close(self) -> None:
        """End the connection."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class ShelfbridgeCaller(Caller):
    """Our client; ids and scores alone, as from the peers.

    `personal`: a query is a shopper's id, a tabulator, and what they typed.
    """

    def __init__(self, address: str, *, deep: bool = False, personal: bool = False) -> None:
        self._client = AsyncSearchClient(address, timeout=TIMEOUT_S, retries=0)
        self._options: dict[str, Any] = {"deep": deep, "personal": personal, "with_payload": False}

    async def search(self, query: str, k: int) -> list[str]:
        """Return the ids of the best k products."""
        user, text = query.split("\t", 1) if self._options["personal"] else (None, query)
        result = await self._client.search(text, k=k, user=user, **self._options)
        return [hit.product_id for hit in result.hits]

    async def close(self) -> None:
        """End the connection."""
        await self._client.close()


class ShelfCaller(Caller):
    """Our client's shelf of a kind; a query is a shopper's id, or a product's for `goes_with`."""

    def __init__(self, address: str, shelf: Shelf) -> None:
        self._client = AsyncShopperClient(address, timeout=TIMEOUT_S, retries=0)
        self._shelf = shelf

    async def search(self, query: str, k: int) -> list[str]:
        """Return the ids of the k products on the shelf."""
        user, item = (None, query) if self._shelf == "goes_with" else (query, None)
        result = await self._client.recommend(user=user, with_item=item, shelf=self._shelf, k=k, with_payload=False)
        return [hit.product_id for hit in result.hits]

    async def close(self) -> None:
        """End the connection."""
        await self._client.close()


class ServiceCaller(Caller):
    """A peer that searches by itself: one call."""

    def __init__(self, url: str) -> None:
        self._url = url
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))

    async def search(self, query: str, k: int) -> list[str]:
        """Return the ids of the best k products."""
        found: list[str] = await self._post("/search", {"query": query, "k": k})
        return found

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        async with self._session.post(self._url + path, json=body) as answer:
            answer.raise_for_status()
            return await answer.json(content_type=None)

    async def close(self) -> None:
        """End the connection."""
        await self._session.close()


class InfinityCaller(ServiceCaller):
    """A server of models: the caller embeds by one call, searches exactly in FAISS, and reranks by another."""

    def __init__(self, url: str, shop: Path, candidates: int) -> None:
        super().__init__(url)
        self._candidates = candidates
        products = json.loads((shop / "products.json").read_text())
        self._ids, self._texts = products["ids"], products["texts"]
        vectors = np.load(shop / "vectors.npy")
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)

    async def search(self, query: str, k: int) -> list[str]:
        """Ids of the best k products."""
        text = {"model": "encoder", "input": [query], "encoding_format": "base64"}
        embedded = await self._post("/embeddings", text)
        vector = np.frombuffer(base64.b64decode(embedded["data"][0]["embedding"]), np.float32)
        rows = self._index.search(vector[None], self._candidates)[1][0]
        rows = rows[rows >= 0]
        asked = {"model": "cross-encoder", "query": query, "documents": [self._texts[row] for row in rows]}
        ranked = await self._post("/rerank", asked | {"top_n": k, "raw_scores": True, "return_documents": False})
        return [self._ids[rows[one["index"]]] for one in ranked["results"]]


def caller(about: dict[str, Any]) -> Caller:
    """Return the caller that a contender's description asks for: `kind` and its arguments. Within an event loop."""
    address = about["address"]
    if about["kind"] == "shelfbridge":
        return ShelfbridgeCaller(address, deep=about["deep"])
    if about["kind"] == "personal":
        return ShelfbridgeCaller(address, personal=True)
    if about["kind"] == "shelf":
        return ShelfCaller(address, about["shelf"])
    if about["kind"] == "infinity":
        return InfinityCaller(address, Path(about["shop"]), about["candidates"])
    return ServiceCaller(address)
