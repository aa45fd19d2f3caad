"""The sample's shoppers: the same everywhere, with habits that a model can learn and products that nobody bought."""

import json
from collections import Counter, defaultdict
from itertools import combinations, pairwise
from pathlib import Path
from random import Random

import pytest

from build.sample import Sample, make_sample
from build.sample.products import Item
from build.sample.shoppers import END, SHOPPERS, WEEK, WEEKS, Purchase, make_purchases
from build.sample.vocabulary import load
from build.shelf.interactions import read


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample(7, 3200)


@pytest.fixture(scope="module")
def items(sample: Sample) -> dict[str, Item]:
    return {item.product.product_id: item for item in sample.items}


@pytest.fixture(scope="module")
def baskets(sample: Sample) -> dict[str, list[Purchase]]:
    found: dict[str, list[Purchase]] = defaultdict(list)
    for purchase in sample.purchases:
        found[purchase.basket].append(purchase)
    return found


def test_the_same_seed_gives_the_same_purchases_and_another_gives_others(sample: Sample) -> None:
    again = make_purchases(7, load(), sample.items, shoppers=5)
    assert again == make_purchases(7, load(), sample.items, shoppers=5)
    assert again != make_purchases(8, load(), sample.items, shoppers=5)


def test_are_of_the_shop_and_of_its_forty_weeks(sample: Sample, items: dict[str, Item]) -> None:
    assert {purchase.product_id for purchase in sample.purchases} <= items.keys()
    assert len({purchase.user for purchase in sample.purchases}) == SHOPPERS
    times = [purchase.time for purchase in sample.purchases]
    assert times == sorted(times)
    assert times[0] >= END - WEEKS * WEEK
    assert times[-1] <= END
    assert 20_000 < len(times) < 40_000
    assert all(0 < purchase.price <= (items[purchase.product_id].product.price or 0) for purchase in sample.purchases)


def test_some_products_are_never_sold(sample: Sample, items: dict[str, Item]) -> None:
    sold = {purchase.product_id for purchase in sample.purchases}
    assert 0.05 < 1 - len(sold) / len(items) < 0.25


def test_consumables_are_bought_again_and_others_hardly(sample: Sample, items: dict[str, Item]) -> None:
    times = Counter((purchase.user, purchase.product_id) for purchase in sample.purchases)
    again: dict[bool, list[bool]] = {True: [], False: []}
    types = load().types
    for (_, product), count in times.items():
        again[types[items[product].kind].runs_out].append(count > 1)
    consumed, kept = (sum(again[kind]) / len(again[kind]) for kind in (True, False))
    assert consumed > 0.2
    assert kept < 0.05


def test_what_goes_together_is_bought_together(
    sample: Sample, items: dict[str, Item], baskets: dict[str, list[Purchase]]
) -> None:
    words, rng = load(), Random(0)

    def together(groups: list[list[Purchase]]) -> float:
        pairs = [pair for group in groups for pair in combinations(group, 2)]
        kinds = ((items[one.product_id].kind, items[other.product_id].kind) for one, other in pairs)
        return sum(one in words.complements(other) for one, other in kinds) / len(pairs)

    sizes = [len(basket) for basket in baskets.values()]
    shuffled = iter(rng.sample(sample.purchases, len(sample.purchases)))
    chance = [[next(shuffled) for _ in range(size)] for size in sizes]
    assert together(list(baskets.values())) > 5 * together(chance)


def test_shoppers_have_brands(sample: Sample, items: dict[str, Item]) -> None:
    brands: dict[str, Counter[str]] = defaultdict(Counter)
    for purchase in sample.purchases:
        brands[purchase.user][items[purchase.product_id].product.brand or ""] += 1
    everybody = sum(brands.values(), Counter())
    first = sum(max(own.values()) for own in brands.values()) / len(sample.purchases)
    assert first > 2 * max(everybody.values()) / len(sample.purchases)


def test_sells_by_season(sample: Sample, items: dict[str, Item]) -> None:
    weeks: dict[str, Counter[int]] = defaultdict(Counter)
    for purchase in sample.purchases:
        weeks[items[purchase.product_id].product.category[0]][(END - purchase.time) // (10 * WEEK)] += 1
    assert sum(max(own.values()) > 1.5 * min(own.values()) for own in weeks.values()) > len(weeks) / 2


def test_is_read_as_interactions(sample: Sample, tmp_path: Path) -> None:
    Sample([], {}, [], sample.purchases[:500]).write(tmp_path)
    found = read(tmp_path / "interactions.jsonl")
    assert len(found) == 500
    assert all(first <= second for first, second in pairwise(found.time.tolist()))
    first = json.loads((tmp_path / "interactions.jsonl").read_text().splitlines()[0])
    assert set(first) == {"user", "product_id", "time", "basket", "quantity", "price"}
