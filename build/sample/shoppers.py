"""Shoppers of the sample and what they bought over forty weeks. All of it is made up.

A shopper has departments, a favourite brand in each, a liking for some traits, a price level and a rhythm. A visit's
basket begins with something they came for; what goes with it is taken along or bought soon after. Consumables run out
and are bought again. What sells drifts by season and department. Some products are never sold: only their texts can
recommend them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import cos, exp, log, pi
from random import Random

from build.sample.products import Item
from build.sample.vocabulary import Vocabulary

SHOPPERS, WEEKS = 400, 40
END = 1_767_225_600
"""Seconds since 1970: 2026-01-01 UTC. The last week ends here."""
DAY, WEEK = 86_400, 7 * 86_400
UNSOLD = 0.06
"""Share of products that nobody buys."""
LOOKED_AT = 16
"""Products among which a shopper chooses, drawn by popularity."""
FICKLE = 0.1
"""Chance of another product than the usual one."""
TAKEN_ALONG, BOUGHT_LATER = 0.45, 0.35
"""Chances that what goes with a product is in the same basket, or in one of the next visits."""


@dataclass(frozen=True)
class Purchase:
    """A line of a basket; `time` in seconds since 1970."""

    user: str
    product_id: str
    time: int
    basket: str
    quantity: int
    price: float


@dataclass(frozen=True)
class Market:
    """What is sold and how well."""

    words: Vocabulary
    kinds: Mapping[str, list[Item]]
    """By product type, without what is never sold."""
    weights: Mapping[str, list[float]]
    """Popularity of each of them, whatever the season."""
    peaks: Mapping[str, float]
    """By department, the week of the year in which it sells best."""

    @classmethod
    def of(cls, rng: Random, words: Vocabulary, items: list[Item]) -> "Market":
        """Draw popularity and seasons."""
        sold = [item for item in items if rng.random() >= UNSOLD]
        kinds: dict[str, list[Item]] = {}
        for item in sold:
            kinds.setdefault(item.kind, []).append(item)
        weights = {kind: [exp(rng.gauss(0, 1.1)) for _ in some] for kind, some in kinds.items()}
        departments = sorted({item.product.category[0] for item in sold})
        return cls(words, kinds, weights, {name: rng.uniform(0, 52) for name in departments})

    def season(self, kind: str, week: int) -> float:
        """How well a type sells in a week, 1 on average over a year."""
        return 1 + 0.7 * cos(2 * pi * (week - self.peaks[self.department(kind)]) / 52)

    def department(self, kind: str) -> str:
        """Of a type."""
        return self.kinds[kind][0].product.category[0]


class Shopper:
    """Tastes that hold for the forty weeks, and what the next visits owe."""

    def __init__(self, rng: Random, market: Market, number: int) -> None:
        self._rng, self._market, self._words = rng, market, market.words
        self.name = f"shopper-{number:04}"
        departments = rng.sample(sorted(market.peaks), rng.randint(2, 4))
        kinds = [kind for kind in sorted(market.kinds) if market.department(kind) in departments]
        self.kinds = {kind: exp(rng.gauss(0, 0.8)) for kind in kinds}
        """How much they care for product types."""
        self.brands = {rng.choice(sorted(self._words.shelf_of[kind].brands)) for kind in kinds}
        self.likes = {trait: rng.choice(sorted(values)) for trait, values in self._words.traits.items()}
        """A trait's favourite value."""
        self.level = rng.gauss(0, 0.5)
        """Of prices: 0 in the middle of a type's range, in its logarithm."""
        self.visits = rng.uniform(0.3, 1.1)
        """A week, on average."""
        self.owned: set[str] = set()
        self.wished: list[str] = []
        """Types of products still to be bought with another."""
        self.supplies: dict[str, tuple[Item, float, int]] = {}
        """By type: the product used, weeks that it lasts, the week in which it runs out."""
        for kind in kinds:
            if self._words.types[kind].runs_out and rng.random() < 0.6:
                lasts = rng.uniform(3, 8)
                self.supplies[kind] = (self._choose(kind), lasts, rng.randrange(round(lasts) + 1))

    def _choose(self, kind: str) -> Item:
        """A product of a type: among some that are popular, the one that suits best."""
        looked = self._rng.choices(self._market.kinds[kind], self._market.weights[kind], k=LOOKED_AT)
        return max(looked, key=lambda item: self._suits(item) + self._rng.gauss(0, 0.5))

    def _usual(self, kind: str) -> Item:
        """What they use of a type that runs out, mostly; else a choice."""
        if kind in self.supplies and self._rng.random() >= FICKLE:
            return self.supplies[kind][0]
        return self._choose(kind)

    def _suits(self, item: Item) -> float:
        liked = sum(self.likes.get(trait) in values for trait, values in item.truth.items())
        low, high = self._words.types[item.kind].price
        place = log((item.product.price or low) / (low * high) ** 0.5) / max(log(high / low), 0.1)
        return (
            1.5 * (item.truth["brand"][0] in self.brands)
            + 0.8 * liked
            - abs(place - self.level)
            - 5 * (item.product.product_id in self.owned)
        )

    def basket(self, week: int) -> list[tuple[Item, int]]:
        """Products of a visit and how many of each."""
        rng, market = self._rng, self._market
        taken: dict[str, tuple[Item, int]] = {}

        def take(item: Item) -> None:
            many = rng.randint(1, 3) if self._words.types[item.kind].runs_out else 1
            taken[item.product.product_id] = (item, many)
            self.owned.add(item.product.product_id)

        for kind, (_, lasts, due) in self.supplies.items():
            if due <= week:
                item = self._usual(kind)
                take(item)
                self.supplies[kind] = (item, lasts, week + max(1, round(rng.gauss(lasts, 0.8))))
        wanted = [self.wished.pop() for _ in range(min(len(self.wished), 2))]
        drawn = [care * market.season(kind, week) for kind, care in self.kinds.items()]
        wanted += rng.choices(list(self.kinds), drawn)
        while wanted:
            kind = wanted.pop()
            take(self._usual(kind))
            for other in sorted(self._words.complements(kind) & market.kinds.keys()):
                chance = rng.random()
                if chance < TAKEN_ALONG:
                    take(self._usual(other))
                elif chance < TAKEN_ALONG + BOUGHT_LATER:
                    self.wished.insert(0, other)
        return list(taken.values())

    def purchases(self) -> Iterator[Purchase]:
        """All that they buy."""
        rng = self._rng
        for week in range(WEEKS):
            if rng.random() >= self.visits:
                continue
            day, hour = rng.randrange(7), rng.randint(8, 21)
            time = END - (WEEKS - week) * WEEK + day * DAY + hour * 3600 + rng.randrange(3600)
            for item, many in self.basket(week):
                price = round((item.product.price or 0) * rng.choice((1, 1, 1, 0.9, 0.8)), 2)
                yield Purchase(self.name, item.product.product_id, time, f"{self.name}-{week:02}", many, price)


def make_purchases(seed: int, words: Vocabulary, items: list[Item], shoppers: int = SHOPPERS) -> list[Purchase]:
    """What so many shoppers bought, in the order of time; the same for the same seed and products."""
    rng = Random(f"shoppers of {seed}")
    market = Market.of(rng, words, items)
    lines = [line for number in range(1, shoppers + 1) for line in Shopper(rng, market, number).purchases()]
    return sorted(lines, key=lambda line: (line.time, line.basket))
