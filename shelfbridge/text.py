"""Normalisation and lexical tokenisation: the build and the server must agree on both to the byte."""

import re
import unicodedata
from functools import lru_cache

import Stemmer

from shelfbridge.contract import MAX_QUERY_CHARS
from shelfbridge.errors import InvalidQuery

_BLANK = re.compile(r"\s+")
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_PIECE = re.compile(rf"(?P<cjk>[{_CJK}]+)|(?P<number>\d+(?:[.,/]\d+)*)|(?P<word>[^\W\d_{_CJK}]+)")
_STEMMER = Stemmer.Stemmer("english")


def normalise(text: str) -> str:
    """Unicode NFKC, control and format characters out, runs of blanks to one space."""
    kept = "".join(
        c if not unicodedata.category(c).startswith("C") or c in "\t\n\r" else " "
        for c in unicodedata.normalize("NFKC", text)
    )
    return _BLANK.sub(" ", kept).strip()


def check_query(raw: bytes) -> str:
    """A shopper's query from the wire, normalised.

    Raises:
        InvalidQuery: not UTF-8, blank, longer than `MAX_QUERY_CHARS`, or with control characters.
    """
    if len(raw) > 4 * MAX_QUERY_CHARS:
        raise InvalidQuery(f"query is {len(raw)} bytes long; send at most {MAX_QUERY_CHARS} characters")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidQuery(f"query is not UTF-8 (byte {error.start}); encode it as UTF-8") from error
    if len(text) > MAX_QUERY_CHARS:
        raise InvalidQuery(f"query is {len(text)} characters long; send at most {MAX_QUERY_CHARS}")
    for position, char in enumerate(text):
        if unicodedata.category(char) == "Cc" and char not in "\t\n\r":
            raise InvalidQuery(f"query holds the control character U+{ord(char):04X} at {position}; remove it")
    text = normalise(text)
    if not text:
        raise InvalidQuery("query is empty; send at least one visible character")
    return text


@lru_cache(maxsize=65536)
def _stem(word: str) -> str:
    return str(_STEMMER.stemWord(word))


def lexical_tokens(text: str) -> list[str]:
    """Terms for the lexical index.

    Words are case-folded, stripped of accents and stemmed (Snowball English); numbers stay whole ("3/4", "2.5")
    and apart from their unit ("64gb" gives "64", "gb"). A run of Chinese, Japanese or Korean script gives its
    overlapping pairs of characters, as Lucene's CJK analyser does, so that no dictionary is needed; a run of
    one character gives itself.
    """
    folded = unicodedata.normalize("NFKD", normalise(text).casefold().replace("'", "").replace("\u2019", ""))
    plain = unicodedata.normalize("NFC", "".join(c for c in folded if not "\u0300" <= c <= "\u036f"))
    terms: list[str] = []
    for piece in _PIECE.finditer(plain):
        found = piece.group()
        if piece.lastgroup == "cjk":
            terms.extend([found] if len(found) == 1 else (found[i : i + 2] for i in range(len(found) - 1)))
        elif piece.lastgroup == "word":
            terms.append(_stem(found))
        else:
            terms.append(found)
    return terms
