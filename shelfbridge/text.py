"""Normalisation and lexical tokenisation: the build and the server must agree on both to the byte."""

import re
import unicodedata

import Stemmer

from shelfbridge.contract import MAX_QUERY_CHARS
from shelfbridge.errors import InvalidQuery

_BLANK = re.compile(r"\s+")
_REPLACED = {"Cc": " ", "Cf": "", "Co": " ", "Cs": " "}
CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
"""Character ranges of the scripts that put no spaces between words."""
_PIECE = re.compile(rf"(?P<cjk>[{CJK}]+)|(?P<number>\d+(?:[.,/]\d+)*)|(?P<word>[^\W\d_{CJK}]+)")
NEGATED = "\u00ac"
"""Mark in front of a term that the text denies."""
DENIALS = {"without": 2, "not": 2, "no": 1, "non": 1}
"""How many words a denial reaches: "without arm rests", "non-stick pan"."""
_DENIAL_PASSES = frozenset({"a", "an", "any", "only", "the"})
_DENIAL_ENDS = frozenset({"and", "but", "for", "in", "of", "on", "or", "with"})
_SHORTEST_LESS = 6
"""Longest word in "less" that denies nothing: "unless", "bless"."""
_STEMMER = Stemmer.Stemmer("english")
_WITHOUT = re.compile(r"\bw/o\b")


def normalise(text: str) -> str:
    """Unicode NFKC, control characters and runs of blanks to one space.

    Format characters (soft hyphens, joiners, direction marks) go without a trace, so that they part no word.
    Unassigned ones stay: what Python's tables do not know yet is a new emoji, say.
    """
    if text.isascii() and text.isprintable():
        return _BLANK.sub(" ", text).strip()
    kept = "".join(_REPLACED.get(unicodedata.category(c), c) for c in text)
    return _BLANK.sub(" ", unicodedata.normalize("NFKC", kept)).strip()


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


def fold(text: str) -> str:
    """Normalised text without case, accents and apostrophes."""
    folded = unicodedata.normalize("NFKD", normalise(text).casefold().replace("'", "").replace("\u2019", ""))
    return unicodedata.normalize("NFC", "".join(c for c in folded if not "\u0300" <= c <= "\u036f"))


def lexical_tokens(text: str) -> list[str]:
    """Terms for the lexical index.

    Words are case-folded, stripped of accents and stemmed (Snowball English); numbers stay whole ("3/4", "2.5")
    and apart from their unit ("64gb" gives "64", "gb"). A run of Chinese, Japanese or Korean script gives its
    overlapping pairs of characters, as Lucene's CJK analyser does, so that no dictionary is needed; a run of
    one character gives itself.

    A word that is denied becomes another term: "without wheels", "no wheels", "wheel-free" and "wheelless" give
    "\u00acwheel", so that a product with wheels does not answer, and one that says it has none does.
    """
    terms: list[str] = []
    denied = 0
    for piece in _PIECE.finditer(_WITHOUT.sub("without", fold(text))):
        found = piece.group()
        if piece.lastgroup == "cjk":
            terms.extend([found] if len(found) == 1 else (found[i : i + 2] for i in range(len(found) - 1)))
        elif piece.lastgroup == "number":
            terms.append(found)
        elif found in DENIALS:
            denied = DENIALS[found]
            continue
        elif denied and found in _DENIAL_PASSES:
            continue
        elif found == "free" and terms and terms[-1].isalpha():
            terms[-1] = NEGATED + terms[-1]
        elif denied and found not in _DENIAL_ENDS:
            terms.append(NEGATED + _STEMMER.stemWord(found))
            denied -= 1
            continue
        else:
            terms.append(_STEMMER.stemWord(found))
            if found.endswith("less") and len(found) > _SHORTEST_LESS:
                terms.append(NEGATED + _STEMMER.stemWord(found.removesuffix("less")))
        denied = 0
    return terms
