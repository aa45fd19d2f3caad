"""One search at each contender, as the shop's own program would make it: a query to product ids, best first."""

import base64
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp
import faiss
import numpy as np

from shelfbridge.client import AsyncSearchClient, AsyncShopperClient
from shelfbridge.contract import Shelf

TIMEOUT_S = 120.0


class Caller(Protocol):
    """A connection to a contender."""

    async def search(self, query: str, k: int) -> list[str]:
        """Ids of the best k products."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ShelfbridgeCaller:
    """Our client; ids and scores alone, as from the peers."""

    def __init__(self, address: str, deep: bool) -> None:
        self._client = AsyncSearchClient(address, timeout=TIMEOUT_S, retries=0)
        self._deep = deep

    async def search(self, query: str, k: int) -> list[str]:
        """Ids of the best k products."""
        result = await self._client.search(query, k=k, deep=self._deep, with_payload=False)
        return [hit.product_id for hit in result.hits]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()


class PersonalCaller(ShelfbridgeCaller):
    """Our client, for a shopper: a query is their id, a tabulator, and what they typed."""

    def __init__(self, address: str) -> None:
        super().__init__(address, deep=False)

    async def search(self, query: str, k: int) -> list[str]:
        """Ids of the best k products."""
        user, _, text = query.partition("\t")
        result = await self._client.search(text, k=k, user=user, personal=True, with_payload=False)
        return [hit.product_id for hit in result.hits]


class ShelfCaller:
    """Our client's shelf of a kind; a query is a shopper's id, or a product's for `goes_with`."""

    def __init__(self, address: str, shelf: Shelf) -> None:
        self._client = AsyncShopperClient(address, timeout=TIMEOUT_S, retries=0)
        self._shelf = shelf

    async def search(self, query: str, k: int) -> list[str]:
        """Ids of the k products on the shelf."""
        beside = self._shelf == "goes_with"
        result = await self._client.recommend(
            user=None if beside else query,
            with_item=query if beside else None,
            shelf=self._shelf,
            k=k,
            with_payload=False,
        )
        return [hit.product_id for hit in result.hits]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()


class ServiceCaller:
    """A peer that searches by itself: one call."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def search(self, query: str, k: int) -> list[str]:
        """Ids of the best k products."""
        found: list[str] = await self._post("/search", {"query": query, "k": k})
        return found

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        async with self._session.post(self._url + path, json=body) as answer:
            answer.raise_for_status()
            return await answer.json(content_type=None)

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *_: object) -> None:
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
    """The caller that a contender's description asks for: `kind` and its arguments."""
    if about["kind"] == "shelfbridge":
        return ShelfbridgeCaller(about["address"], about["deep"])
    if about["kind"] == "personal":
        return PersonalCaller(about["address"])
    if about["kind"] == "shelf":
        return ShelfCaller(about["address"], about["shelf"])
    if about["kind"] == "infinity":
        return InfinityCaller(about["address"], Path(about["shop"]), about["candidates"])
    return ServiceCaller(about["address"])
