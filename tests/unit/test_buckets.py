"""Optimization profiles follow the shop's lengths, hold every shape once, and are what TensorRT takes."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from build.engines.buckets import (
    CANDIDATES,
    DISTANCE,
    EVENT,
    MOST,
    PAIR,
    QUERY,
    STEP,
    VARYING,
    buckets,
    chances,
    distance,
    fit,
    profiles,
    read_lengths,
    usual_lengths,
)
from shelfbridge.contract import MODELS
from shelfbridge.errors import ArtefactError
from shelfbridge.lengths import padded

KINDS = (QUERY, CANDIDATES, PAIR)
NETWORKS = ("encoder", "ranker", "cross_encoder")
LENGTHS = {"query": {4: 30, 8: 50, 20: 20}, "candidates": {20: 60, 33: 40, 64: 2}, "pair": {48: 10, 60: 30, 96: 8}}
histograms = st.dictionaries(st.integers(1, 300), st.integers(1, 1000), min_size=1, max_size=40)


class TestBuckets:
    @given(histogram=histograms, kind=st.sampled_from(KINDS))
    def test_hold_every_length_once_and_in_order(self, histogram, kind):
        made = buckets(chances(histogram, kind))
        assert 1 <= len(made) <= MOST
        assert [one.least for one in made] == [1, *(one.most + 1 for one in made[:-1])]
        assert made[-1].most == kind.most
        assert all(one.least <= one.usual <= one.most for one in made)

    @given(histogram=histograms, kind=st.sampled_from(KINDS))
    @example(histogram={1: 1, 6: 1}, kind=QUERY)  # no edge parts the two
    def test_are_as_few_as_the_rule_permits(self, histogram, kind):
        weights = chances(histogram, kind)
        made = buckets(weights)
        bound = max(DISTANCE * sum(length * weight for length, weight in weights.items()), STEP / 4)
        if len(made) > 1:
            fewer = buckets(weights, most=len(made) - 1)
            assert sum(distance(weights, one) for one in fewer) > bound
        if len(made) < MOST:
            edges = range(0, kind.most, STEP)
            least = sum(distance(weights, fit(weights, edge + 1, min(edge + STEP, kind.most))) for edge in edges)
            assert sum(distance(weights, one) for one in made) <= max(bound, least * (1 + 1e-9))

    def test_two_crowds_get_a_bucket_each(self):
        made = buckets(chances({8: 50, 48: 50}, QUERY))
        assert [one.usual for one in made] == [8, 48]

    def test_one_crowd_needs_one(self):
        assert len(buckets(chances({15: 1, 16: 50, 17: 1}, QUERY))) == 1

    def test_are_no_worse_than_any_other_cut_into_two(self):
        weights = chances({4: 30, 9: 30, 22: 20, 40: 10, 63: 10}, QUERY)
        made = buckets(weights, most=2)
        cost = sum(distance(weights, one) for one in made)
        for edge in range(STEP, QUERY.most, STEP):
            cut = [
                min(sum(weights[length] * abs(length - usual) for length in part) for usual in part)
                for part in (range(1, edge + 1), range(edge + 1, QUERY.most + 1))
            ]
            assert cost <= sum(cut) + 1e-9

    def test_a_bucket_that_gains_nothing_is_not_made(self):
        weights = {length: 0.5 if length in (1, STEP) else 0.0 for length in range(1, 2 * STEP + 1)}
        (only,) = buckets(weights)
        assert distance(weights, only) > STEP / 4

    @given(histogram=histograms, kind=st.sampled_from(KINDS))
    def test_chances_are_a_distribution(self, histogram, kind):
        weights = chances(histogram, kind)
        assert list(weights) == list(range(1, kind.most + 1))
        assert min(weights.values()) >= 0
        assert sum(weights.values()) == pytest.approx(1)

    def test_a_length_above_the_limit_counts_as_the_limit(self):
        assert chances({500: 3}, PAIR)[PAIR.most] == pytest.approx(1)


class TestProfiles:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_have_the_contracts_shapes(self, name):
        for profile in profiles(MODELS[name], LENGTHS, 64):
            assert list(profile) == [tensor.name for tensor in MODELS[name].inputs]
            for tensor in MODELS[name].inputs:
                for shape in (profile[tensor.name].min, profile[tensor.name].opt, profile[tensor.name].max):
                    assert len(shape) == 1 + len(tensor.dims)
                    assert all(dim in (-1, size) for dim, size in zip(tensor.dims, shape[1:], strict=True))

    @pytest.mark.parametrize("name", NETWORKS)
    def test_lie_in_order_as_tensorrt_wants_them(self, name):
        for profile in profiles(MODELS[name], LENGTHS, 64):
            for shapes in profile.values():
                assert all(a <= b <= c for a, b, c in zip(shapes.min, shapes.opt, shapes.max, strict=True))

    @pytest.mark.parametrize("name", NETWORKS)
    def test_one_and_only_one_admits_a_shape(self, name):
        made = profiles(MODELS[name], LENGTHS, 64)
        kinds = list(dict.fromkeys(VARYING[t.name] for t in MODELS[name].inputs if -1 in t.dims))
        for batch in (1, 2, 3, 17, 64):
            for chosen in itertools.product(*(sorted({1, 7, 8, 9, kind.most - 1, kind.most}) for kind in kinds)):
                at = dict(zip(kinds, chosen, strict=True))
                admitted = [
                    all(
                        profile[t.name].admits((batch, *(at[VARYING[t.name]] if d == -1 else d for d in t.dims)))
                        for t in MODELS[name].inputs
                    )
                    for profile in made
                ]
                assert admitted.count(True) == 1, (batch, at)

    def test_none_admits_more_than_the_batch_or_the_length(self):
        made = profiles(MODELS["encoder"], LENGTHS, 4)
        for shape in ((5, 8), (1, QUERY.most + 1), (1, 0), (0, 8), (1, 8, 1)):
            assert not any(profile["input_ids"].admits(shape) for profile in made)

    def test_a_batch_of_one_has_its_own(self):
        made = profiles(MODELS["encoder"], LENGTHS, 64)
        assert {profile["input_ids"].max[0] for profile in made} == {1, 64}
        assert {profile["input_ids"].max[0] for profile in profiles(MODELS["encoder"], LENGTHS, 1)} == {1}

    def test_the_rankers_follow_the_candidates_and_admit_every_query(self):
        for profile in profiles(MODELS["ranker"], LENGTHS, 64):
            assert (profile["token_vectors"].min[1], profile["token_vectors"].max[1]) == (1, QUERY.most)

    @pytest.mark.parametrize("name", NETWORKS)
    def test_are_tuned_for_lengths_that_are_served(self, name):
        """A length that the first step rounds up never comes: neither a tuned shape nor a CUDA graph may have it."""
        queries = {len(padded(np.zeros(length, np.int64))) for length in range(1, QUERY.most + 1)}
        for profile in profiles(MODELS[name], LENGTHS, 64):
            for tensor in MODELS[name].inputs:
                if VARYING.get(tensor.name) is QUERY:
                    assert {profile[tensor.name].opt[1], profile[tensor.name].max[1]} <= queries

    def test_usual_lengths_come_in_order_of_their_chance(self):
        (chance, first), (other, second) = itertools.islice(usual_lengths(MODELS["encoder"], LENGTHS), 2)
        assert (first, second) == ({"query": 8}, {"query": 4})
        assert (chance, other) == pytest.approx((0.5, 0.3))

    def test_usual_lengths_of_two_kinds_are_combined(self):
        all_of_them = list(usual_lengths(MODELS["ranker"], LENGTHS))
        assert len(all_of_them) == len(LENGTHS["query"]) * len(LENGTHS["candidates"])
        assert sum(chance for chance, _ in all_of_them) == pytest.approx(1)
        assert set(all_of_them[0][1]) == {"query", "candidates"}


class TestReading:
    def test_gives_lengths_as_numbers(self, tmp_path):
        (tmp_path / "lengths.json").write_text(json.dumps(LENGTHS))
        (tmp_path / "manifest.json").write_text('{"release": 1}')
        assert read_lengths(tmp_path) == LENGTHS

    def test_the_events_of_a_shelf_are_cut_to_what_is_served(self, tmp_path):
        (tmp_path / "lengths.json").write_text(json.dumps(LENGTHS))
        told = {"release": 1, "shelf": {"events": {"0": 4, "12": 30, str(EVENT.most + 9): 2}}}
        (tmp_path / "manifest.json").write_text(json.dumps(told))
        assert read_lengths(tmp_path) == {**LENGTHS, "event": {1: 4, 12: 30, EVENT.most: 2}}

    @pytest.mark.parametrize(
        "content",
        [
            None,
            "",
            "[]",
            "{}",
            json.dumps({**LENGTHS, "pair": {}}),
            json.dumps({**LENGTHS, "pair": {"0": 3}}),
            json.dumps({**LENGTHS, "query": {"8": 0}}),
            json.dumps({**LENGTHS, "query": {"long": 1}}),
            json.dumps({"query": LENGTHS["query"]}),
        ],
    )
    def test_refuses_what_is_no_histogram(self, tmp_path, content):
        if content is not None:
            (tmp_path / "lengths.json").write_text(content)
        with pytest.raises(ArtefactError, match=r"lengths\.json.*build the release again"):
            read_lengths(tmp_path)
