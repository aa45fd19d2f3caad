"""Products by chance, and a plain search of them that scores every one, in the open."""

from dataclasses import dataclass

import bm25s
import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import OSA

from shelfbridge.catalogue import Product
from shelfbridge.contract import CANDIDATES, SIGNALS, TOKEN_WIDTH
from shelfbridge.request import Filters
from shelfbridge.retrieval.index import DEPTH, RRF_K
from shelfbridge.retrieval.spelling import LIKENESS
from shelfbridge.text import NEGATED, fold, lexical_tokens

NOUNS = ("desk chair", "table lamp", "hiking boots", "water bottle", "tent pole", "steel kettle", "kids shoes")
ADJECTIVES = ("red", "waterproof", "2.5 l", "64gb", "wooden", "black", "large", "for kids", "with wheels")
ENDINGS = ("without wheels", "non-stick", "no handles", "for the kitchen", "made of oak", "armless", "100 pieces", "")


def goods(count: int, seed: int = 0) -> list[Product]:
    random = np.random.default_rng(seed)

    def some(words: tuple[str, ...], most: int) -> str:
        return " ".join(words[at] for at in random.integers(0, len(words), random.integers(1, most + 1)))

    def one(row: int) -> Product:
        return Product(
            product_id=str(row),
            title=f"{some(ADJECTIVES, 2)} {some(NOUNS, 1)} {some(ENDINGS, 1)}".strip(),
            brand=("", "Acme", "Zelt", "Oak & Co")[random.integers(4)],
            bullet_points=some(NOUNS + ENDINGS, 6),
            category=(("Home", "Outdoor")[random.integers(2)], ("Chairs", "Lamps", "Boots")[random.integers(3)]),
            price=None if random.random() < 0.1 else round(float(random.lognormal(3, 1)), 2),
            stock=None if random.random() < 0.2 else int(random.integers(3)),
            rating_count=int(random.integers(1000)),
        )

    return [one(row) for row in range(count)]


def by_bm25s(documents: list[list[str]]) -> bm25s.BM25:
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index([list(terms) for terms in documents], show_progress=False, create_empty_token=False)
    return index


@dataclass
class Field:
    """BM25, coverage and rarity by bm25s and a loop over all terms, dense."""

    documents: list[list[str]]

    def __post_init__(self) -> None:
        self.bm25s = by_bm25s(self.documents)
        self.sets = [set(terms) for terms in self.documents]

    def held(self, term: str) -> np.ndarray:
        return np.array([term in one for one in self.sets])

    def match(self, terms: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, float]:
        bm25, coverage, total = np.zeros(len(self.sets), np.float32), np.zeros(len(self.sets), np.float32), 0.0
        for term in dict.fromkeys(terms):
            held = self.held(term)
            idf = float(np.log1p((len(held) - held.sum() + 0.5) / (held.sum() + 0.5)))
            total += idf
            if held.any():
                bm25 += self.bm25s.get_scores([term]).astype(np.float32)
                coverage[held] += idf
        return bm25, coverage / total if total else coverage, total


class Reference:
    """A search that scores every product in every field, in the open."""

    def __init__(self, products: list[Product], vectors: np.ndarray, tokens: list[np.ndarray]) -> None:
        self.products, self.vectors, self.tokens = products, vectors, tokens
        self.full = Field([lexical_tokens(product.full_text) for product in products])
        self.title = Field([lexical_tokens(product.short_text) for product in products])
        self.category = Field([lexical_tokens(product.category[-1]) for product in products])
        counts: dict[str, int] = {}
        for product in products:
            for word in {word for word in fold(product.full_text).replace("-", " ").split() if len(word) >= 4}:
                if word.isascii() and word.isalpha():
                    counts[word] = counts.get(word, 0) + 1
        self.words = sorted(counts, key=lambda word: (-counts[word], word))

    def spelt(self, word: str) -> str:
        if word in self.words or len(word) < 4 or not word.isalpha() or word in ("without",) or word.endswith("less"):
            return word
        found = process.extractOne(word, self.words, scorer=OSA.normalized_similarity, score_cutoff=LIKENESS)
        return word if found is None else found[0]

    def allowed(self, filters: Filters) -> np.ndarray:
        return np.array([passes(product, filters) for product in self.products])

    def search(self, text: str, query: np.ndarray, filters: Filters) -> dict[str, np.ndarray]:
        terms = dict.fromkeys(lexical_tokens(" ".join(map(self.spelt, text.split()))))
        wanted = tuple(term for term in terms if not term.startswith(NEGATED))
        denied = tuple(term.removeprefix(NEGATED) for term in terms if term.startswith(NEGATED))
        every = (*wanted, *(NEGATED + term for term in denied), *denied)
        allowed = self.allowed(filters)
        shares = [match / max(match.max(), 1e-6) for match in (f.match(every)[0] for f in (self.full, self.title))]
        scores = np.where(allowed, shares[0] + shares[1], 0)
        lexical = [row for row in np.lexsort((np.arange(len(scores)), -scores)) if scores[row] > 0][:DEPTH]
        dense = [row for row in np.argsort(-(self.vectors @ query), kind="stable") if allowed[row]][:DEPTH]
        fused: dict[int, float] = {}
        for ranking in (lexical, dense):
            for place, row in enumerate(ranking, start=1):
                fused[row] = fused.get(row, 0.0) + 1 / (RRF_K + place)
        rows = np.array(sorted(fused, key=lambda row: (-fused[row], row))[:CANDIDATES], np.int64)
        tokens = np.zeros((CANDIDATES, max([len(self.tokens[r]) for r in rows], default=1), TOKEN_WIDTH), np.int8)
        for place, row in enumerate(rows):
            tokens[place, : len(self.tokens[row])] = self.tokens[row]
        return {"rows": rows, "signals": self.signals(wanted, denied, rows, query), "tokens": tokens}

    def signals(self, wanted: tuple[str, ...], denied: tuple[str, ...], rows: np.ndarray, query: np.ndarray):
        full, title, category = (field.match(wanted) for field in (self.full, self.title, self.category))

        def share(field: Field, terms: list[str]) -> np.ndarray:
            return sum((field.held(term)[rows] for term in terms), np.zeros(len(rows), np.float32)) / max(len(terms), 1)

        some = [self.products[row] for row in rows]
        columns = {
            "bm25": full[0][rows] / max(full[2], 1e-6),
            "bm25_title": title[0][rows] / max(title[2], 1e-6),
            "coverage": full[1][rows],
            "coverage_title": title[1][rows],
            "coverage_category": category[1][rows],
            "complete": full[1][rows] > 1 - 1e-6,
            "numbers": share(self.full, [term for term in wanted if term[0].isdigit()]),
            "denied_title": share(self.title, list(denied)),
            "denial_met": share(self.full, [NEGATED + term for term in denied]),
            "title_length": np.log1p([len(lexical_tokens(product.short_text)) for product in some]),
            "popularity": np.log10([1 + (product.rating_count or 0) for product in some]),
            "cosine": self.vectors[rows] @ query,
        }
        return np.stack([np.asarray(columns[name], np.float32) for name in SIGNALS], axis=1)


def passes(product: Product, filters: Filters) -> bool:
    price = None if product.price is None else np.float32(product.price)
    bounds = (filters.price_min, filters.price_max)
    return (
        (filters.category is None or filters.category.casefold() in [part.casefold() for part in product.category])
        and (filters.brand is None or filters.brand.casefold() == product.brand.casefold() != "")
        and (bounds == (None, None) or price is not None)
        and (filters.price_min is None or price >= np.float32(filters.price_min))
        and (filters.price_max is None or price <= np.float32(filters.price_max))
        and (not filters.in_stock or product.stock != 0)
    )
