"""Hostile requests: the same for the same seed, of every kind, kept whole; and when something counts as broken."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc import service_pb2

from loadtests.fuzz import watch
from loadtests.fuzz.__main__ import broken
from loadtests.fuzz.attack import Attack
from loadtests.fuzz.grammar import ANYWHERE, CALLED, GATEWAY, attacks, length, missing, true_request
from loadtests.fuzz.report import draw, text
from shelfbridge.contract import MODELS


class TestGrammar:
    def test_the_same_seed_makes_the_same_requests(self) -> None:
        assert list(attacks(300, 5)) == list(attacks(300, 5))
        assert list(attacks(300, 5)) != list(attacks(300, 6))

    def test_every_kind_comes_by_each_way(self) -> None:
        seen = Counter((attack.way, attack.category) for attack in attacks(6000, 1))
        categories = {make(random.Random(1)).category for make in GATEWAY}
        assert {category for _, category in seen} >= categories
        assert sum(count for (way, _), count in seen.items() if way == "direct") == 3000
        assert not [1 for way, category in seen if way == "direct" and "token" in category]

    @pytest.mark.parametrize("model", CALLED)
    def test_begins_with_a_true_request(self, model: str) -> None:
        known = {tensor.name: tensor for tensor in MODELS[model].inputs}
        for seed in range(50):
            request = true_request(model, random.Random(seed))
            assert len(request.inputs) == len(request.raw_input_contents) > 0
            given = {tensor.name for tensor in request.inputs}
            assert given <= known.keys()
            optional = {name for name, tensor in known.items() if tensor.optional}
            assert known.keys() - optional <= given

    def test_a_tensor_is_missing_where_it_must_come(self) -> None:
        for seed in range(50):
            request = service_pb2.ModelInferRequest.FromString(missing(random.Random(seed)).message)
            needed = {tensor.name for tensor in MODELS[request.model_name].inputs if not tensor.optional}
            assert needed - {tensor.name for tensor in request.inputs}

    @pytest.mark.parametrize("make", ANYWHERE, ids=lambda make: make.__name__)
    def test_comes_back_from_its_file(self, make: Any) -> None:
        attack = make(random.Random(3)).by("direct")
        assert Attack.of_json(json.loads(json.dumps(attack.as_json()))) == attack

    def test_a_lying_length_must_be_refused(self) -> None:
        assert all(
            attack.refused for attack in (length(random.Random(n)) for n in range(30)) if "length" in attack.category
        )


def record(**changes: Any) -> dict[str, Any]:
    looks = [{"requests": n, "memory": {"private": 100.0 + n / 100, "gateway": 50.0}} for n in range(0, 1000, 25)]
    return {
        "seconds": 10.0,
        "requests": 1000,
        "seed": 7,
        "ends": {"noise": {"direct": {"INVALID_ARGUMENT": 500}, "gateway": {"OK": 500}}},
        "slowest_s": {"noise": 0.1},
        "answered_wrongly": [],
        "others": {"direct, beside attacks": {"count": 9, "p50": 5.0, "p99": 9.0}},
        "others_wrong": [],
        "looks": looks,
        "growth_mb": watch.growth(looks),
        "restarted": [],
        "restricted_outside": 0,
        "broken": [],
        **changes,
    }


class TestVerdict:
    def test_memory_grows_from_where_it_had_settled(self) -> None:
        assert record()["growth_mb"] == {"private": pytest.approx(6.25), "gateway": 0.0}

    def test_all_is_well(self) -> None:
        assert broken(record()) == []

    @pytest.mark.parametrize(
        "changes",
        [
            {"restarted": ["private"]},
            {"others_wrong": ["direct: 'lamp' failed"]},
            {"answered_wrongly": [1]},
            {"growth_mb": {"gateway": watch.GROWTH_MB + 1}},
            {"restricted_outside": 1},
        ],
    )
    def test_each_of_these_is_broken(self, changes: dict[str, Any]) -> None:
        assert len(broken(record(**changes))) == 1

    def test_the_report_says_so(self, tmp_path: Path) -> None:
        assert "Nothing broke" in text(record())
        assert "**Broken**: private died" in text(record(broken=["private died"]))
        draw(tmp_path / "fuzz.png", record())
        assert (tmp_path / "fuzz.png").stat().st_size > 10_000
