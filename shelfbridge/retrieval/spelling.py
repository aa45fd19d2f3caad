"""A shopper's misspelt words, as the catalogue spells them."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rapidfuzz import process
from rapidfuzz.distance import OSA

from shelfbridge.catalogue import Product
from shelfbridge.errors import ArtefactError
from shelfbridge.text import DENIALS, fold

LIKENESS = 0.7
"""Least similarity (1 - optimal string alignment distance / length) at which an unknown word is taken for another."""
MOST_CORRECTED = 4
"""Unknown words of a query that are looked up: each costs a pass over all words, 1.6 ms for 20,000 of them."""
_WORD = re.compile(r"(?<![^\W_])[a-z]{4,}(?![^\W_])")


@dataclass(frozen=True, eq=False)
class Spelling:
    """The words of the catalogue, the frequent ones first, with how many products hold each."""

    words: dict[str, int]

    def corrected(self, text: str) -> str:
        """The folded text with unknown words replaced by the likest known ones. Short words and numbers stay."""
        left = MOST_CORRECTED

        def known(found: re.Match[str]) -> str:
            nonlocal left
            word = found.group()
            if word in self.words or word in DENIALS or word.endswith("less") or left == 0:
                return word
            left -= 1
            return self._likest(word)

        return _WORD.sub(known, fold(text))

    @lru_cache(maxsize=4096)  # noqa: B019 - lives as long as the index, which is as long as the process
    def _likest(self, word: str) -> str:
        found = process.extractOne(word, self.words.keys(), scorer=OSA.normalized_similarity, score_cutoff=LIKENESS)
        return word if found is None else str(found[0])

    @staticmethod
    def write(folder: Path, products: Sequence[Product]) -> None:
        """Count the words of products."""
        held = Counter(word for product in products for word in set(_WORD.findall(fold(product.full_text))))
        frequent_first = sorted(held.items(), key=lambda item: (-item[1], item[0]))
        (folder / "words.json").write_text(json.dumps(dict(frequent_first)), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> "Spelling":
        """Read what `write` wrote.

        Raises:
            ArtefactError: the file is missing or damaged.
        """
        try:
            return cls(json.loads((folder / "words.json").read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ArtefactError(f"{folder}/words.json cannot be read ({error}); build the release again") from error
