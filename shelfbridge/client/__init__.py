"""The way in for programs: a search as one typed call, in a thread or on an event loop.

    with SearchClient("localhost:8001") as client:
        for hit in client.search("waterproof hiking boots", k=10).hits:
            print(hit.rank, hit.product_id, hit.score)

Everything a search can raise is a `shelfbridge.errors.SearchError`; what is wrong with a client's settings is a
`SettingsError`.
"""

from shelfbridge.client._aio import AsyncSearchClient
from shelfbridge.client._connection import TLS, Connection
from shelfbridge.client._results import Hit, SearchResult
from shelfbridge.client._sync import SearchClient

__all__ = ["TLS", "AsyncSearchClient", "Connection", "Hit", "SearchClient", "SearchResult"]
