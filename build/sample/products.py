"""Products of the sample: first the facts (which brand, which traits), then the text a shop would write about them.

A fact is written in the title, in a bullet, in the colour field or in the description, and in one wording of several;
so a reader can tell every fact, and a search that compares words often cannot.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from random import Random

from build.sample.vocabulary import Shelf, Vocabulary
from shelfbridge.catalogue import Product

Truth = Mapping[str, tuple[str, ...]]
"""What is true of a product: its type, brand, series and model, and the values of its traits."""
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
class Item:
    """A product and what is true of it."""

    product: Product
    truth: Truth

    @property
    def kind(self) -> str:
        """Its product type."""
        return self.truth["type"][0]


def make_items(rng: Random, words: Vocabulary, count: int) -> list[Item]:
    """So many products, spread evenly over all types, in an order that tells nothing."""
    kinds = list(words.types)
    truths: list[Truth] = []
    for place, kind in enumerate(kinds):
        latest: Truth = {}
        for _ in range(count // len(kinds) + (place < count % len(kinds))):
            latest = _sibling(rng, words, latest) if latest and rng.random() < 0.3 else _new(rng, words, kind)
            truths.append(latest)
    rng.shuffle(truths)
    return [Item(_write(rng, words, truth, f"SB{row:05}"), truth) for row, truth in enumerate(truths, start=1)]


def _new(rng: Random, words: Vocabulary, kind: str) -> Truth:
    shelf = words.shelf_of[kind]
    traits: dict[str, tuple[str, ...]] = {}
    for trait in words.types[kind].traits:
        many = 2 if words.is_use(trait) and rng.random() < 0.35 else 1
        traits[trait] = tuple(rng.sample(list(words.traits[trait]), many))
    number = rng.choice((7, 12, 15, 20, 27, 30, 50, 100, 250, 500, 1500))
    model = f"{''.join(rng.sample('ABCDEFGHKLMNPRSTVXZ', 2))}-{number}{rng.choice(('', 'S', 'X'))}"
    brand, series = rng.choice(shelf.brands), rng.choice(shelf.series)
    return {"type": (kind,), "brand": (brand,), "series": (series,), "model": (model,), **traits}


def _sibling(rng: Random, words: Vocabulary, truth: Truth) -> Truth:
    """The same model with one thing changed, as shops list variants: most often the colour or a size."""
    traits = words.types[truth["type"][0]].traits
    changeable = [trait for trait in traits if trait.endswith("colour") or trait in words.numbers]
    trait = rng.choice(changeable or traits)
    return {**truth, trait: (rng.choice([value for value in words.traits[trait] if value not in truth[trait]]),)}


def _write(rng: Random, words: Vocabulary, truth: Truth, product_id: str) -> Product:
    names = {name: truth[name][0] for name in ("type", "brand", "series", "model")}
    shelf, kind = words.shelf_of[names["type"]], words.types[names["type"]]
    labels, colour, sentences = _say(rng, words, truth)
    bullets = sentences[: rng.randint(2, 4)]
    gap = "" if shelf.language == "zh" else " "
    low, high = kind.price
    return Product(
        product_id=product_id,
        title=_title(rng, shelf, {**names, "name": rng.choice(kind.names)}, labels),
        brand=names["brand"],
        color=colour,
        bullet_points=gap.join(bullets),
        description=gap.join([*sentences[len(bullets) :], *_asides(rng, words, truth, names)]),
        category=(shelf.department, *kind.path),
        price=round(exp(rng.uniform(log(low), log(high)))) - 0.01,
        stock=0 if rng.random() < 0.06 else rng.randint(1, 400),
        rating=round(min(5.0, max(1.0, rng.gauss(4.2, 0.5))), 1),
        rating_count=round(exp(rng.uniform(0, 8.5))),
    )


def _say(rng: Random, words: Vocabulary, truth: Truth) -> tuple[list[str], str, list[str]]:
    """Words for the label, the colour field, and sentences for the rest; every fact comes in at least one of them."""
    labels: list[str] = []
    sentences: list[str] = []
    spare: list[str] = []
    colour = ""
    traits = words.types[truth["type"][0]].traits
    for trait in rng.sample(traits, len(traits)):
        for value in (words.traits[trait][key] for key in truth[trait]):
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


def _title(rng: Random, shelf: Shelf, names: Mapping[str, str], labels: list[str]) -> str:
    chinese = shelf.language == "zh"
    lead = [label for label in labels if not label.startswith(_FOLLOWS) and not label[0].isdigit()][:2]
    tail = [label for label in labels if label not in lead]
    parts = {"lead": ("" if chinese else " ").join(lead), "tail": (" " if chinese else ", ").join(tail)}
    title = " ".join(rng.choice(shelf.titles).format(**parts, **names).split())
    for pattern, instead in _EMPTY:
        title = re.sub(pattern, instead, title).strip()
    return title


def _asides(rng: Random, words: Vocabulary, truth: Truth, names: Mapping[str, str]) -> list[str]:
    """What shops write besides, some of it about other products: true, and a trap for counting words."""
    shelf = words.shelf_of[names["type"]]
    trait = rng.choice(words.types[names["type"]].traits)
    others = [
        label
        for key, value in words.traits[trait].items()
        for label in value.title
        if key not in truth[trait] and not label.startswith(_FOLLOWS)
    ]
    companions = [name for key in sorted(words.complements(names["type"])) for name in words.types[key].names]
    left_out = [slot for slot, words_for in (("{other}", others), ("{companion}", companions)) if not words_for]
    patterns = [pattern for pattern in shelf.asides if not any(slot in pattern for slot in left_out)]
    return [
        pattern.format(
            **names,
            other=rng.choice(others or [""]).lower(),
            elsewhere=rng.choice([name for name in shelf.series if name != names["series"]]),
            companion=rng.choice(companions or [""]).lower(),
        )
        for pattern in rng.sample(patterns, rng.randint(1, 2))
    ]
