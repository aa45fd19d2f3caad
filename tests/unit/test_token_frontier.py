"""Token vectors in fewer bytes, held against the vectors themselves and the ranker; and how variants are compared."""

import json

import numpy as np
import pytest
import torch
from rich.console import Console

from build.frontier import tokens as token_frontier
from build.frontier.maxsim import MaxSim, maxsim
from build.frontier.token_codes import BASELINE, Stored, Variant, directions, encode, piece_weights, unit
from build.frontier.tokens import Row, choose, difference, measure, prove, score, tau
from build.training.models import Ranker
from build.training.ranker import Lists
from shelfbridge.catalogue import Catalogue, Judgment, Judgments, Product
from shelfbridge.contract import CANDIDATES, SIGNALS, TOKEN_WIDTH
from shelfbridge.errors import ArtefactError, DataError
from shelfbridge.retrieval import CandidateIndex
from shelfbridge.retrieval.ragged import Ragged
from tests.functional import tiny

LENGTHS = (5, 1, 9, 30)
STEP = 1 / 127
LOW_BITS = [Variant(bits=bits) for bits in (1, 2, 4)]


def drawn(rows: int, seed: int = 0, rank: int = TOKEN_WIDTH) -> np.ndarray:
    """Unit vectors float32 [rows, P] in a subspace of some rank."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((rows, rank)) @ np.random.default_rng(99).standard_normal((rank, TOKEN_WIDTH))
    return unit(vectors.astype(np.float32))


def stored(rank: int = TOKEN_WIDTH) -> Stored:
    vectors = np.rint(drawn(sum(LENGTHS), rank=rank) / STEP).astype(np.int8)
    weights = np.random.default_rng(3).random(sum(LENGTHS)).astype(np.float32)
    return Stored(Ragged(vectors, np.cumsum([0, *LENGTHS])), STEP, weights)


def coded(variant: Variant, rank: int = TOKEN_WIDTH):
    some = stored(rank)
    return encode(some, variant, directions(some.vectors.values.astype(np.float32)))


def test_the_baseline_is_stored_as_it_was():
    codes = coded(BASELINE)
    np.testing.assert_array_equal(codes.unpacked(codes.packed.values), stored().vectors.values)
    assert codes.scale == STEP
    queries = drawn(3) * 2
    np.testing.assert_allclose(codes.turned(queries), queries, atol=1e-6)


def test_directions_are_orthogonal_and_lead_with_the_most():
    vectors = drawn(500, rank=20)
    found = directions(vectors)
    np.testing.assert_allclose(found.T @ found, np.eye(TOKEN_WIDTH), atol=1e-5)
    energy = np.square(vectors @ found).sum(0)
    assert (np.diff(energy) <= 1e-3).all()
    assert energy[20:].sum() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("variant", [Variant(width=64), Variant(width=32, bits=4), *LOW_BITS], ids=lambda v: v.name)
def test_a_vector_takes_the_bytes_that_are_reported(variant):
    codes = coded(variant)
    assert codes.packed.values.itemsize * codes.packed.values.shape[1] == variant.vector_bytes
    assert codes.unpacked(codes.packed.values).shape == (sum(LENGTHS), variant.width)


def test_vectors_of_a_narrow_subspace_lose_nothing_in_its_width():
    codes, queries = coded(Variant(width=32), rank=24), drawn(4, seed=1, rank=24) * 3
    expected = queries @ (stored(24).vectors.values * STEP).T
    got = codes.turned(queries) @ (codes.unpacked(codes.packed.values) * codes.scale).T
    np.testing.assert_allclose(got, expected, atol=0.05)


@pytest.mark.parametrize(("bits", "distortion"), [(4, 0.01154), (2, 0.1188), (1, 0.3634)])
def test_few_bits_err_as_the_quantiser_of_a_normal_variable_does(bits, distortion):
    """Max's figures for the mean squared error, per unit of variance."""
    vectors = np.rint(drawn(2000) / STEP).astype(np.int8)
    some = Stored(Ragged(vectors, np.array([0, 2000])), STEP, np.ones(2000, np.float32))
    codes = encode(some, Variant(bits=bits, tokens=2000), directions(vectors.astype(np.float32)))
    error = codes.unpacked(codes.packed.values) * codes.scale - unit(vectors.astype(np.float32)) @ codes.basis
    assert np.square(error).sum(-1).mean() == pytest.approx(distortion, rel=0.1)


def test_by_position_the_first_of_each_product_stay():
    some, codes = stored(), coded(Variant(tokens=4))
    assert np.diff(codes.packed.offsets).tolist() == [4, 1, 4, 4]
    for product in range(len(LENGTHS)):
        np.testing.assert_array_equal(codes.packed[product], some.vectors[product][:4])


def test_by_rarity_the_rarest_of_each_product_stay_in_order():
    some, codes = stored(), coded(Variant(tokens=4, by="rarity"))
    for product, length in enumerate(LENGTHS):
        weights = some.weights[some.vectors.offsets[product] :][:length]
        places = np.sort(np.argsort(-weights)[:4])
        np.testing.assert_array_equal(codes.packed[product], some.vectors[product][places])


@pytest.mark.parametrize("variant", [BASELINE, Variant(width=64), *LOW_BITS], ids=lambda v: v.name)
@torch.inference_mode()
def test_what_is_timed_is_what_the_ranker_computes(variant):
    codes = coded(variant)
    packed, lengths = codes.packed.padded(np.arange(-1, len(LENGTHS)))
    queries = codes.turned(drawn(6, seed=5) * np.array([[1], [2], [3], [1], [5], [2]], np.float32))
    candidates = Ranker.FEEDBACK
    padded = np.zeros((candidates, *packed.shape[1:]), packed.dtype)
    padded[: len(packed)] = packed
    counts = np.zeros(candidates, np.int32)
    counts[: len(lengths)] = lengths
    tensors = (queries[None], codes.unpacked(padded)[None], counts[None])
    company, signals = torch.zeros(1, candidates, candidates), torch.zeros(1, candidates, len(SIGNALS))
    expected = Ranker(codes.scale).features(*map(torch.from_numpy, tensors), company, signals)[0, :, 0].numpy()
    inputs = (unit(queries), padded, counts)
    got = MaxSim(variant.bits, codes.scale)(*map(torch.from_numpy, inputs)).numpy()
    (served,) = maxsim(codes).run(None, dict(zip(("queries", "packed", "lengths"), inputs, strict=True)))
    np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_allclose(served, expected, atol=1e-5)


class Weigher:
    """In place of the encoder's session: a vector is as long as its piece's id."""

    def run(self, _, feeds):
        return None, feeds["input_ids"][..., None] * np.eye(1, TOKEN_WIDTH, dtype=np.float32)


def test_weights_are_the_lengths_of_the_encoders_vectors():
    ids = np.random.default_rng(0).integers(1, 900, 1000)
    np.testing.assert_array_equal(piece_weights(Weigher(), ids), ids)


def lists(queries: int, seed: int = 0) -> Lists:
    """The first feature is the gain, the others are noise."""
    torch.manual_seed(seed)
    gains = (torch.rand(queries, CANDIDATES) > 0.8).float()
    features = torch.randn(queries, CANDIDATES, len(Ranker.FEATURES))
    features[..., 0] += gains
    rows = torch.arange(CANDIDATES).expand(queries, CANDIDATES)
    return Lists(list(range(queries)), features, rows, gains, [one.numpy() for one in gains])


def test_no_query_is_scored_by_a_head_that_saw_it(monkeypatch):
    seen = []
    real = token_frontier._scores

    def noted(fitted_to, others, decay):
        seen.append((set(fitted_to.queries), set(others.queries)))
        return real(fitted_to, others, decay)

    monkeypatch.setattr(token_frontier, "_scores", noted)
    made = score(lists(12), range(8), range(8, 12), 3e-4)
    assert seen[0] == (set(range(8)), set(range(8, 12)))
    assert not any(fitted & others for fitted, others in seen)
    times = [query for _, others in seen[1:] for query in others]
    assert sorted(times) == sorted(list(range(12)) * token_frontier.REPEATS)
    assert [one.shape for one in made] == [(4,), (12,), (4, CANDIDATES)]
    assert made[1].mean() > 0.4


def test_a_difference_is_paired_over_queries():
    base = np.random.default_rng(0).random(60)
    shifted = difference(base - 0.1, base)
    assert [shifted[name] for name in ("low", "over_baseline", "high")] == pytest.approx([-0.1, -0.1, -0.1])
    assert difference(base, base) == {"mean": base.mean(), "over_baseline": 0, "low": 0, "high": 0}
    noisy = difference(base + np.random.default_rng(1).normal(0, 0.2, 60), base)
    assert noisy["low"] < noisy["over_baseline"] < noisy["high"]


def test_tau_looks_at_the_first_ten_of_the_baseline():
    base = torch.arange(20.0).flip(0).repeat(2, 1)
    assert tau(base, base * 3) == pytest.approx(1)
    assert tau(base, -base) == pytest.approx(-1)
    below = base.clone()
    below[:, 10:] = base[:, 10:].flip(1)
    assert tau(base, below) == pytest.approx(1)


def row(size: float, over: float, high: float, low: float = -0.02, dev_high: float = 0.01) -> Row:
    validated = {"mean": 0.6 + over, "over_baseline": over, "low": low, "high": high}
    return {"bytes_per_product": size, "validated": validated, "dev": {"high": dev_high}}


def test_the_smallest_that_loses_little_and_not_for_certain_is_chosen():
    rows = [row(100, 0, 0), row(50, -0.004, 0.01), row(40, -0.004, -0.001), row(30, -0.006, 0.02)]
    rows.append(row(20, -0.004, 0.01, dev_high=-0.001))
    assert choose(rows) is rows[1]
    assert choose(rows[:1]) is rows[0]


def test_the_smallest_that_cannot_lose_more_is_proven():
    rows = [row(100, 0, 0, 0), row(50, 0.001, 0.004, -0.005), row(40, -0.001, 0.004, -0.006)]
    assert prove(rows) is rows[1]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Files and data of a shop whose encoder has a vector per word."""
    folder = tmp_path_factory.mktemp("shop")
    names = [f"{color} {thing}" for thing in tiny.THINGS for color in tiny.COLORS]
    products = [Product(product_id=str(number), title=name) for number, name in enumerate(names)]
    words = tiny.make_tokenizer(products)
    words.save(str(folder / "tokenizer.json"))
    dense, late = tiny.tables(words.get_vocab_size())
    tiny.write_model(folder / "model.onnx", tiny.ENCODER, dense=dense, late=late)
    pieces = [np.array(words.encode(name).ids) for name in names]
    vectors = unit(np.stack([dense[ids].sum(0) for ids in pieces]))
    scale = float(np.abs(late).max()) / 127
    CandidateIndex.write(
        folder / "index", products, vectors, [np.rint(late[p] / scale).astype(np.int8) for p in pieces]
    )
    np.save(folder / "index" / "scale.npy", np.float32(scale))
    judged = [
        Judgment(query_id=name, query=name, product_id=str(number), label=label, split=split)
        for place, name in enumerate(names[:12])
        for split in ("dev" if place % 3 == 0 else "train",)
        for number, label in ((place, "E"), ((place + 1) % 35, "S"), ((place + 7) % 35, "I"))
    ]
    files = {"tokenizer": folder / "tokenizer.json", "encoder": folder / "model.onnx", "index": folder / "index"}
    return files, Catalogue(tuple(products)), Judgments(tuple(judged))


def test_a_shops_variants_are_measured_and_reported(shop, tmp_path):
    files, catalogue, judgments = shop
    variants = (BASELINE, Variant(32, 8), Variant(tokens=2, by="rarity"))
    rows = measure(
        tmp_path,
        **files,
        catalogue=catalogue,
        judgments=judgments,
        decay=3e-4,
        console=Console(quiet=True),
        variants=variants,
    )
    assert [one["name"] for one in rows] == [variant.name for variant in variants]
    base, narrow, few = rows
    assert (base["tau"], base["times_baseline"], base["dev"]["over_baseline"]) == pytest.approx((1, 1, 0))
    assert base["dev"]["mean"] > 0.5
    assert narrow["bytes_per_product"] == pytest.approx(base["bytes_per_product"] / 2)
    assert few["bytes_per_product"] == 2 * TOKEN_WIDTH
    assert base["megabytes"] == pytest.approx(base["bytes_per_product"] * 35 / 1e6)
    record = json.loads((tmp_path / "token_frontier.json").read_text())
    assert record["queries"]["dev"] == 4
    assert record["chosen"] in {variant.name for variant in variants}
    table = (tmp_path / "token_frontier.md").read_text()
    assert f"**{record['chosen']}**" in table or f"**_{record['chosen']}_**" in table
    assert f"_{record['proven']}_" in table
    assert (tmp_path / "token_frontier.png").stat().st_size > 1000


def test_an_index_of_another_catalogue_is_refused(shop, tmp_path):
    files, catalogue, judgments = shop
    longer = Catalogue(tuple(one.model_copy(update={"description": "red"}) for one in catalogue.products))
    options = {"decay": 3e-4, "console": Console(quiet=True), "variants": (BASELINE,)}
    with pytest.raises(ArtefactError, match=r"other word pieces .* build it again"):
        measure(tmp_path, **files, catalogue=longer, judgments=judgments, **options)
    with pytest.raises(DataError, match="needs queries of both"):
        measure(tmp_path, **files, catalogue=catalogue, judgments=judgments.of("train"), **options)
