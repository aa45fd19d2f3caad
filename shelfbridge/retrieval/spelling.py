"""A shopper's misspelt words, as the catalogue spells them.

Two words that are alike are the same after a few letters are left out of each. So every word is listed under what
remains of its first letters when some are left out (a deletion neighbourhood: Mor & Fraenkel 1982), and an unknown word
is compared with those alone that share a remainder with it, however many words there are.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import process
from rapidfuzz.distance import OSA

from shelfbridge.catalogue import Product
from shelfbridge.retrieval.names import Names
from shelfbridge.retrieval.ragged import Ragged
from shelfbridge.text import DENIALS, fold

LIKENESS = 0.7
"""Least similarity (1 - optimal string alignment distance / length) at which an unknown word is taken for another."""
MOST_CORRECTED = 4
"""Unknown words of a query that are looked up."""
_WORD = re.compile(r"(?<![^\W_])[a-z]{4,}(?![^\W_])")
_FIRST = 8
"""Letters from which some are left out; the rest of a word does not matter to where it is listed."""
_LEFT_OUT = {4: 1, 5: 1, 6: 1, 7: 2, 8: 3}
"""Most letters left out by word length: all that `LIKENESS` lets differ, but for a fourth in words of 14 or more."""
_PART = 1 << 14


@dataclass(frozen=True, eq=False)
class Spelling:
    """The words of the catalogue, those in most products first, and the lists of words by remainder."""

    words: Names
    listed: Ragged

    def corrected(self, text: str, beside: "Spelling | None" = None) -> str:
        """The folded text with unknown words replaced by the likest known ones. Short words and numbers stay.

        Args:
            beside: words of products that came later.
        """
        left = MOST_CORRECTED

        def known(found: re.Match[str]) -> str:
            nonlocal left
            word = found.group()
            if word in DENIALS or word.endswith("less") or left == 0 or self.words.find(word) >= 0:
                return word
            if beside is not None and beside.words.find(word) >= 0:
                return word
            left -= 1
            likest = self._likest(word)
            return likest if beside is None else _likelier(word, likest, beside._nearest(word))

        return _WORD.sub(known, fold(text))

    @lru_cache(maxsize=4096)  # noqa: B019 - lives as long as the index, which is as long as the process
    def _likest(self, word: str) -> str:
        return self._nearest(word)

    def _nearest(self, word: str) -> str:
        lists = np.unique(_remainders(_letters([word])) % len(self.listed))
        listed, lengths = self.listed.padded(lists)
        near = np.unique(listed[np.arange(listed.shape[1]) < lengths[:, None]])
        choices = [self.words[number] for number in near.tolist()]
        found = process.extractOne(word, choices, scorer=OSA.normalized_similarity, score_cutoff=LIKENESS)
        return word if found is None else str(found[0])

    @staticmethod
    def write(folder: Path, products: Sequence[Product]) -> None:
        """Count and list the words of products."""
        held = Counter(word for product in products for word in set(_WORD.findall(fold(product.full_text))))
        words = sorted(held, key=lambda word: (-held[word], word))
        Names.write(folder, "words", words)
        by_length: dict[int, list[int]] = {}
        for number, word in enumerate(words):
            by_length.setdefault(min(len(word), _FIRST), []).append(number)
        numbers, remainders = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
        for alike in by_length.values():
            for start in range(0, len(alike), _PART):
                part = alike[start : start + _PART]
                found = _remainders(_letters([words[number] for number in part]))
                numbers.append(np.repeat(part, found.shape[1]))
                remainders.append(found.ravel())
        entries = np.concatenate(remainders)
        lists = np.uint64(1 + len(entries) // 2)
        pairs = np.unique((entries % lists) * np.uint64(len(words) or 1) + np.concatenate(numbers).astype(np.uint64))
        homes, listed = np.divmod(pairs, np.uint64(len(words) or 1))
        np.save(folder / "spelling.npy", listed.astype(np.int32))
        np.save(folder / "spelling.offsets.npy", np.searchsorted(homes, np.arange(int(lists) + 1, dtype=np.uint64)))

    @classmethod
    def open(cls, folder: Path) -> "Spelling":
        """Map what `write` wrote.

        Raises:
            ArtefactError: a file is missing, damaged, or does not belong to the others.
        """
        return cls(Names.open(folder, "words"), Ragged.open(folder, "spelling"))


def _likelier(word: str, first: str, second: str) -> str:
    """The one that is liker to a word, the first of two alike; the word itself is none."""
    choices = [choice for choice in (first, second) if choice != word]
    return max(choices, key=partial(OSA.normalized_similarity, word), default=word)


def _letters(words: Sequence[str]) -> NDArray[np.uint64]:
    """The first letters of words that are equally long, or as long as `_FIRST` and longer."""
    return np.array([list(word[:_FIRST].encode()) for word in words], np.uint64)


def _remainders(letters: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hashes of what remains of each row of letters when some are left out, [n, ways]."""
    width = letters.shape[1]
    ways = []
    for count in range(_LEFT_OUT[width] + 1):
        kept = letters[:, list(combinations(range(width), width - count))]
        hashes = np.full(kept.shape[:2], width - count, np.uint64)
        for letter in np.moveaxis(kept, 2, 0):
            hashes = (hashes ^ letter) * np.uint64(0x100000001B3)
            hashes ^= hashes >> np.uint64(29)
        ways.append(hashes)
    return np.concatenate(ways, axis=1)
