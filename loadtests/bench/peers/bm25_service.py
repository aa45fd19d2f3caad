"""Plain BM25: tantivy and FastAPI, without any network.

It is the floor: a neural search that ranks below it is none. Title, brand and all other words of a product are one
English text field (stemmed, without stop words); a query asks for any of its words.

Tuning: one worker; tantivy searches outside Python's lock, so that searches side by side use all cores.
"""

import json

import tantivy
from serving import command_line, serve

HEAP = 128 * 2**20
"""Bytes that the writer holds."""


def main() -> None:
    """The command line."""
    options = command_line(__doc__).parse_args()
    products = json.loads((options.shop / "products.json").read_text())
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw")
    builder.add_text_field("text", tokenizer_name="en_stem")
    index = tantivy.Index(builder.build())
    writer = index.writer(HEAP, 1)
    for product_id, text in zip(products["ids"], products["full_texts"], strict=True):
        writer.add_document(tantivy.Document(id=product_id, text=text))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def search(query: str, k: int) -> list[str]:
        asked, _ = index.parse_query_lenient(query, ["text"])
        hits = searcher.search(asked, k, count=False).hits
        return [searcher.doc(address)["id"][0] for _, address in hits]

    serve(search, options.port)


if __name__ == "__main__":
    main()
