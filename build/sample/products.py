"""Products of the sample: first the facts (which brand, which traits), then the text a shop would write about them.

A fact is written in the title, in a bullet, in the colour field or in the description, and in one wording of several;
so a reader can tell every fact, and a search that compares words often cannot.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp, log
from random import Random

from build.sample.vocabulary import Shelf, Vocabulary
from shelfbridge.catalogue import Product

_FOLLOWS = ("with ", "for ", "in ", "on ")
_EMPTY = (
    (r"\(\s*\)", ""),
    (r"(\s*,\s*)+$", ""),
    (r"(\s-\s*)+$", ""),
    (r"(,\s*)+(?=[,(])", ""),
    (r"\s+,", ","),
    (r"( -)+(?= -)", ""),
)


@dataclass(frozen=True)
class Facts:
    """What is true of a product before anything is written about it."""

    kind: str
    brand: str
    series: str
    model: str
    traits: Mapping[str, tuple[str, ...]]

    @property
    def truth(self) -> dict[str, frozenset[str]]:
        """The facts by name, those of the brand and the type among them: what a query's needs are held against."""
        named = {"type": self.kind, "brand": self.brand, "series": self.series, "model": self.model}
        return {key: frozenset([value]) for key, value in named.items()} | {
            trait: frozenset(values) for trait, values in self.traits.items()
        }


@dataclass(frozen=True)
class Item:
    """A product and what is true of it."""

    product: Product
    truth: Mapping[str, frozenset[str]]

    @property
    def kind(self) -> str:
        """Its product type."""
        (kind,) = self.truth["type"]
        return kind


def make_items(rng: Random, words: Vocabulary, count: int) -> list[Item]:
    """So many products, spread evenly over all types, in an order that tells nothing."""
    kinds = list(words.types)
    facts: list[Facts] = []
    for place, kind in enumerate(kinds):
        facts.extend(_facts_of_kind(rng, words, kind, count // len(kinds) + (place < count % len(kinds))))
    rng.shuffle(facts)
    return [Item(_write(rng, words, fact, f"SB{row:05}"), fact.truth) for row, fact in enumerate(facts, start=1)]


def _facts_of_kind(rng: Random, words: Vocabulary, kind: str, count: int) -> list[Facts]:
    facts: list[Facts] = []
    for _ in range(count):
        sibling = facts[-1] if facts and rng.random() < 0.3 else None
        facts.append(_sibling(rng, words, sibling) if sibling else _new(rng, words, kind))
    return facts


def _new(rng: Random, words: Vocabulary, kind: str) -> Facts:
    shelf = words.shelf_of[kind]
    traits: dict[str, tuple[str, ...]] = {}
    for trait in words.types[kind].traits:
        many = 2 if words.is_use(trait) and rng.random() < 0.35 else 1
        traits[trait] = tuple(rng.sample(list(words.traits[trait]), many))
    number = rng.choice((7, 12, 15, 20, 27, 30, 50, 100, 250, 500, 1500))
    model = f"{''.join(rng.sample('ABCDEFGHKLMNPRSTVXZ', 2))}-{number}{rng.choice(('', 'S', 'X'))}"
    return Facts(kind, rng.choice(shelf.brands), rng.choice(shelf.series), model, traits)


def _sibling(rng: Random, words: Vocabulary, facts: Facts) -> Facts:
    """The same model with one thing changed, as shops list variants: most often the colour or a size."""
    changeable = [trait for trait in facts.traits if trait.endswith("colour") or trait in words.numbers]
    trait = rng.choice(changeable or list(facts.traits))
    others = [value for value in words.traits[trait] if value not in facts.traits[trait]]
    return replace(facts, traits={**facts.traits, trait: (rng.choice(others),)})


def _write(rng: Random, words: Vocabulary, facts: Facts, product_id: str) -> Product:
    shelf, kind = words.shelf_of[facts.kind], words.types[facts.kind]
    labels, colour, sentences = _say(rng, words, facts)
    bullets = sentences[: rng.randint(2, 4)]
    gap = "" if shelf.language == "zh" else " "
    low, high = kind.price
    return Product(
        product_id=product_id,
        title=_title(rng, shelf, facts, rng.choice(kind.names), labels),
        brand=facts.brand,
        color=colour,
        bullet_points=gap.join(bullets),
        description=gap.join([*sentences[len(bullets) :], *_asides(rng, words, facts)]),
        category=(shelf.department, *kind.path),
        price=round(exp(rng.uniform(log(low), log(high)))) - 0.01,
        stock=0 if rng.random() < 0.06 else rng.randint(1, 400),
        rating=round(min(5.0, max(1.0, rng.gauss(4.2, 0.5))), 1),
        rating_count=round(exp(rng.uniform(0, 8.5))),
    )


def _say(rng: Random, words: Vocabulary, facts: Facts) -> tuple[list[str], str, list[str]]:
    """Words for the label, the colour field, and sentences for the rest; every fact comes in at least one of them."""
    labels: list[str] = []
    sentences: list[str] = []
    spare: list[str] = []
    colour = ""
    for trait in rng.sample(list(facts.traits), len(facts.traits)):
        for value in (words.traits[trait][key] for key in facts.traits[trait]):
            label = rng.choice(value.title) if value.title else ""
            if trait.endswith("colour"):
                colour = label
            shown = bool(label) and len(labels) < 3 and rng.random() < 0.55
            if shown:
                labels.append(label)
                spare.append(rng.choice(value.says))
            if (not shown or rng.random() < 0.25) and not (trait.endswith("colour") and rng.random() < 0.7):
                sentences.append(rng.choice(value.says))
    sentences += [sentence for sentence in spare if sentence not in sentences][: max(0, 2 - len(sentences))]
    rng.shuffle(sentences)
    return labels, colour, sentences


def _title(rng: Random, shelf: Shelf, facts: Facts, name: str, labels: list[str]) -> str:
    chinese = shelf.language == "zh"
    lead = [label for label in labels if not label.startswith(_FOLLOWS) and not label[0].isdigit()][:2]
    tail = [label for label in labels if label not in lead]
    parts = {"lead": ("" if chinese else " ").join(lead), "tail": (" " if chinese else ", ").join(tail), "name": name}
    title = rng.choice(shelf.titles).format(**parts, brand=facts.brand, series=facts.series, model=facts.model)
    title = " ".join(title.split())
    for pattern, instead in _EMPTY:
        title = re.sub(pattern, instead, title).strip()
    return title


def _asides(rng: Random, words: Vocabulary, facts: Facts) -> list[str]:
    """What shops write besides, some of it about other products: true, and a trap for counting words."""
    shelf = words.shelf_of[facts.kind]
    trait = rng.choice(list(facts.traits))
    others = [
        label
        for key, value in words.traits[trait].items()
        for label in value.title
        if key not in facts.traits[trait] and not label.startswith(_FOLLOWS)
    ]
    companions = [name for key in sorted(words.complements(facts.kind)) for name in words.types[key].names]
    left_out = [slot for slot, words_for in (("{other}", others), ("{companion}", companions)) if not words_for]
    patterns = [pattern for pattern in shelf.asides if not any(slot in pattern for slot in left_out)]
    return [
        pattern.format(
            series=facts.series,
            brand=facts.brand,
            other=rng.choice(others or [""]).lower(),
            elsewhere=rng.choice([name for name in shelf.series if name != facts.series]),
            companion=rng.choice(companions or [""]).lower(),
        )
        for pattern in rng.sample(patterns, rng.randint(1, 2))
    ]
