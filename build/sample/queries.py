"""Queries of the sample: what a shopper needs of a product, and one way to type it.

Each is drawn from a product in the catalogue, so that something answers it, and is used once: two queries with the
same answers never stand in different splits.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from build.sample.products import Item
from build.sample.vocabulary import Value, Vocabulary
from shelfbridge.text import lexical_tokens

MOST_ANSWERS = 60
AS_LABELLED = 0.65
"""Share of traits that a shopper words as the labels do."""
_AFTER = re.compile(
    r"(for|with|without|that|in|no|not|on|to|up|any|anything|other|against|allowed|safe|good|easy|where|about|of) "
)
"""How a phrase starts that stands after the type: "for trails", not "leather"."""
_CHINESE = ("attribute", "use", "negated", "number", "paraphrase")
_BESIDE = {
    letter: row[max(0, place - 1) : place] + row[place + 1 : place + 2]
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for place, letter in enumerate(row)
}
"""Keys beside a key."""


@dataclass(frozen=True)
class Need:
    """One of the `allowed` values must be true of the product."""

    trait: str
    allowed: frozenset[str]

    def met_by(self, item: Item) -> bool:
        """Whether the product has it; a trait that its type does not know is not met."""
        return not self.allowed.isdisjoint(item.truth.get(self.trait, ()))


@dataclass(frozen=True)
class Query:
    """What is typed, and all that must hold of an exact answer. The first need is the product type."""

    kind: str
    text: str
    needs: tuple[Need, ...]

    def answered_by(self, item: Item) -> bool:
        """Whether the product satisfies all that is asked."""
        return all(need.met_by(item) for need in self.needs)

    @property
    def types(self) -> frozenset[str]:
        """Product types asked for."""
        return self.needs[0].allowed


class Writer:
    """Writes a query of a kind about a product, or nothing where the kind does not fit the product."""

    def __init__(self, rng: Random, words: Vocabulary) -> None:
        self._rng = rng
        self._words = words
        self._ways: dict[str, Callable[[Item], Query | None]] = {
            "attribute": self._attribute,
            "use": self._use,
            "brand": self._brand,
            "misspelt": self._misspelt,
            "negated": self._negated,
            "number": self._number,
            "paraphrase": self._paraphrase,
            "broad": self._broad,
            "chinese": self._chinese,
        }

    def write(self, kind: str, item: Item) -> Query | None:
        """A query of that kind which the product answers."""
        if (self._words.language(item.kind) == "zh") != (kind == "chinese"):
            return None
        query = self._ways[kind](item)
        return query and replace(query, kind=kind)

    def _attribute(self, item: Item) -> Query | None:
        return self._typed(item, self._wants(item, self._plain_traits(item), self._rng.choice((1, 2, 2, 3))))

    def _use(self, item: Item) -> Query | None:
        uses = [trait for trait in item.truth if self._words.is_use(trait)]
        more = self._wants(item, self._plain_traits(item), self._rng.randint(0, 1))
        return self._typed(item, [*more, *self._wants(item, uses, 1)]) if uses else None

    def _number(self, item: Item) -> Query | None:
        numbers = [trait for trait in item.truth if trait in self._words.numbers]
        if not numbers:
            return None
        trait = self._rng.choice(numbers)
        want = self._wants(item, [trait], 1)[0] if self._rng.random() < 0.6 else self._range(item, trait)
        return self._typed(item, [want, *self._wants(item, self._plain_traits(item), self._rng.randint(0, 1))])

    def _negated(self, item: Item) -> Query | None:
        refusals = [
            (trait, key, deny)
            for trait in self._plain_traits(item)
            for key, value in self._words.traits[trait].items()
            for deny in value.deny
            if key not in item.truth[trait]
        ]
        if not refusals:
            return None
        trait, refused, deny = self._rng.choice(refusals)
        others = frozenset(self._words.traits[trait]) - {refused}
        rest = [other for other in self._plain_traits(item) if other != trait]
        more = self._wants(item, rest, self._rng.randint(0, 1))
        return self._typed(item, [*more, (deny, Need(trait, others))])

    def _paraphrase(self, item: Item) -> Query | None:
        traits = [*self._plain_traits(item), *(trait for trait in item.truth if self._words.is_use(trait))]
        wants = self._wants(item, traits, self._rng.randint(1, 2))
        query = self._query(item, "", wants)
        separator = " " if self._words.language(item.kind) == "zh" else ", "
        return replace(query, text=separator.join([self._rng.choice(self._words.types[item.kind].hints), query.text]))

    def _broad(self, item: Item) -> Query | None:
        kind = self._words.types[item.kind]
        word = self._rng.choice((*kind.broad, *kind.broad, *kind.asked))
        family = [key for key, entry in self._words.types.items() if word in entry.broad] or [item.kind]
        shared = [
            trait for trait in self._plain_traits(item) if all(trait in self._words.types[k].traits for k in family)
        ]
        wants = self._wants(item, shared, 1 if len(family) > 1 else self._rng.randint(0, 1))
        query = self._query(item, word, wants)
        return replace(query, needs=(Need("type", frozenset(family)), *query.needs[1:]))

    def _brand(self, item: Item) -> Query:
        brand, series, model = (item.truth[name][0] for name in ("brand", "series", "model"))
        noun = self._rng.choice(self._words.types[item.kind].asked)
        form = self._rng.randrange(4)
        text = (f"{brand} {noun}", f"{brand} {series} {noun}", f"{brand} {model}", f"{brand} {noun}")[form]
        asked = (("brand",), ("brand", "series"), ("brand", "model"), ("brand",))[form]
        more = self._wants(item, self._plain_traits(item), 1) if form == 3 else []
        wants = [("", Need(name, frozenset(item.truth[name]))) for name in asked]
        return self._query(item, text.lower(), [*wants, *more])

    def _misspelt(self, item: Item) -> Query | None:
        query = self._rng.choice((self._attribute, self._use, self._number))(item)
        return query and replace(query, text=misspell(self._rng, query.text))

    def _chinese(self, item: Item) -> Query | None:
        return self._ways[self._rng.choice(_CHINESE)](item)

    def _plain_traits(self, item: Item) -> list[str]:
        numbers = self._words.numbers
        return [t for t in self._words.types[item.kind].traits if t not in numbers and not self._words.is_use(t)]

    def _wants(self, item: Item, traits: list[str], count: int) -> list[tuple[str, Need]]:
        wants = []
        for trait in self._rng.sample(traits, min(count, len(traits))):
            value = self._rng.choice(sorted(item.truth[trait]))
            worded = self._words.traits[trait][value]
            phrases = worded.title if worded.title and self._rng.random() < AS_LABELLED else worded.asks
            wants.append((self._rng.choice(phrases), Need(trait, frozenset([value]))))
        return wants

    def _range(self, item: Item, trait: str) -> tuple[str, Need]:
        """A bound that the product keeps: "at least 1.5 l", or "up to"."""
        values: dict[str, Value] = self._words.traits[trait]
        (own,) = item.truth[trait]
        more = self._rng.random() < 0.5
        bound = self._rng.choice([key for key in values if (float(key) <= float(own)) == more or key == own])
        kept = frozenset(key for key in values if (float(key) >= float(bound)) == more or key == bound)
        shelf = self._words.shelf_of[item.kind]
        return self._rng.choice(shelf.more if more else shelf.less).format(
            self._rng.choice(values[bound].asks[:2])
        ), Need(trait, kept)

    def _typed(self, item: Item, wants: list[tuple[str, Need]]) -> Query:
        return self._query(item, self._rng.choice(self._words.types[item.kind].asked), wants)

    def _query(self, item: Item, noun: str, wants: list[tuple[str, Need]]) -> Query:
        phrases = [phrase for phrase, _ in wants if phrase]
        if self._words.language(item.kind) == "zh":
            text = "".join(phrases) + (self._rng.choice(("的", "", " ")) if phrases and noun else "") + noun
        else:
            before = [phrase for phrase in phrases if not _AFTER.match(phrase)]
            after = [phrase for phrase in phrases if phrase not in before]
            text = " ".join(filter(None, [*before, noun, *after])).lower()
        needs = (Need("type", frozenset([item.kind])), *(need for _, need in wants))
        return Query("", text, needs)


def make_queries(rng: Random, words: Vocabulary, items: list[Item], quotas: dict[str, int]) -> list[Query]:
    """Queries of each kind up to its quota, no two with the same answers or the same words."""
    writer = Writer(rng, words)
    chinese = [item for item in items if words.language(item.kind) == "zh"]
    by_kind: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_kind[item.kind].append(item)
    seen: set[object] = set()
    queries: list[Query] = []
    for kind, quota in quotas.items():
        left = quota
        for _ in range(40 * quota):
            if not left:
                break
            query = writer.write(kind, rng.choice(chinese if kind == "chinese" else items))
            if query is None:
                continue
            of_types = (item for name in query.types for item in by_kind[name])
            answers = frozenset(item.product.product_id for item in of_types if query.answered_by(item))
            typed = tuple(sorted(lexical_tokens(query.text)))
            fewest = 1 if kind == "brand" else 2
            if fewest <= len(answers) <= MOST_ANSWERS and seen.isdisjoint((answers, typed)):
                seen |= {answers, typed}
                queries.append(query)
                left -= 1
    return queries


def misspell(rng: Random, text: str) -> str:
    """The text with a slip of the finger in one or two of its words of five letters and more; others stay readable."""
    words = text.split()
    long = [place for place, word in enumerate(words) if len(word) >= 5 and word.isalpha()]
    for place in rng.sample(long, min(len(long), rng.randint(1, 2))):
        words[place] = _slip(rng, words[place])
    return " ".join(words)


def _slip(rng: Random, word: str) -> str:
    """A letter dropped, doubled, swapped with the next, or hit beside."""
    at = rng.randrange(1, len(word) - 1)
    head, letter, tail = word[:at], word[at], word[at + 1 :]
    slips = [head + tail, head + letter + letter + tail, head + tail[0] + letter + tail[1:]]
    if letter in _BESIDE:
        slips.append(head + rng.choice(_BESIDE[letter]) + tail)
    return rng.choice([slip for slip in slips if slip != word])
