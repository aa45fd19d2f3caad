"""Plain BM25: tantivy and FastAPI, without any network.

It is the floor: a neural search that ranks below it is none. Title, brand and all other words of a product are one
English text field (stemmed, without stop words); a query asks for any of its words.

Tuning: one worker; tantivy searches outside Python's lock, so that searches side by side use all cores.
"""

import argparse
import json
from pathlib import Path

import tantivy
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

HEAP = 128 * 2**20
"""Bytes that the writer holds."""


class Search(BaseModel):
    """A query, and how many products are wanted."""

    query: str
    k: int


class Service:
    """An index of the shop's products, in memory."""

    def __init__(self, shop: Path) -> None:
        products = json.loads((shop / "products.json").read_text())
        builder = tantivy.SchemaBuilder()
        builder.add_text_field("id", stored=True, tokenizer_name="raw")
        builder.add_text_field("text", tokenizer_name="en_stem")
        self.index = tantivy.Index(builder.build())
        writer = self.index.writer(HEAP, 1)
        for product_id, text in zip(products["ids"], products["full_texts"], strict=True):
            writer.add_document(tantivy.Document(id=product_id, text=text))
        writer.commit()
        writer.wait_merging_threads()
        self.index.reload()
        self.searcher = self.index.searcher()

    def search(self, query: str, k: int) -> list[str]:
        """Ids of the best k products."""
        asked, _ = self.index.parse_query_lenient(query, ["text"])
        hits = self.searcher.search(asked, k, count=False).hits
        return [self.searcher.doc(address)["id"][0] for _, address in hits]


def application(service: Service) -> FastAPI:
    """The service over HTTP."""
    app = FastAPI()

    @app.post("/search")
    def search(asked: Search) -> list[str]:
        return service.search(asked.query, asked.k)

    @app.get("/health")
    def health() -> str:
        return "ready"

    return app


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shop", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    service = Service(options.shop)
    service.search("warm up", 10)
    uvicorn.run(application(service), host="127.0.0.1", port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
