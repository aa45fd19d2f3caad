"""The way in for programs: a search or a shelf as one typed call, in a thread or on an event loop.

    with SearchClient("localhost:8001") as client:
        for hit in client.search("waterproof hiking boots", k=10).hits:
            print(hit.rank, hit.product_id, hit.score)

    with ShopperClient("localhost:8001") as client:
        client.send([Event(event_id="1", user="u7", kind="view", product_id="B07", time=time.time())])
        print(client.recommend(user="u7").hits)

Everything a call can raise is a `shelfbridge.errors.SearchError`; what is wrong with a client's settings is a
`SettingsError`.
"""

from shelfbridge.client._aio import AsyncSearchClient, AsyncShopperClient
from shelfbridge.client._connection import TLS, Connection
from shelfbridge.client._results import Hit, Receipt, RefusedEvent, SearchResult, ShelfHit, ShelfResult
from shelfbridge.client._sync import SearchClient, ShopperClient

__all__ = [
    "TLS",
    "AsyncSearchClient",
    "AsyncShopperClient",
    "Connection",
    "Hit",
    "Receipt",
    "RefusedEvent",
    "SearchClient",
    "SearchResult",
    "ShelfHit",
    "ShelfResult",
    "ShopperClient",
]
