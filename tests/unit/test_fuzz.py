"""Hostile requests: the same for the same seed, of every kind, kept whole; and when something counts as broken."""

import base64
import json
import random
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from tritonclient.grpc import service_pb2

from deploy.security.keys import write_new
from deploy.security.new_keys import make_keys
from deploy.security.tokens import ALGORITHM, AUDIENCE, make_jwks
from loadtests.fuzz import watch
from loadtests.fuzz.__main__ import read
from loadtests.fuzz.attack import KINDS, Attack, Kind
from loadtests.fuzz.calls import attacks
from loadtests.fuzz.messages import length, missing, true_request
from loadtests.fuzz.others import Others, Wrong
from loadtests.fuzz.report import apart, broken, draw, text
from loadtests.fuzz.tokens import WORTHLESS, tokens
from loadtests.fuzz.watch import Death
from shelfbridge.client import SearchClient
from shelfbridge.contract import MODELS
from shelfbridge.errors import ConnectionFailed, DataError, SearchError
from shelfbridge.measure.report import picture


class TestGrammar:
    def test_the_same_seed_makes_the_same_requests(self) -> None:
        assert list(attacks(300, 5)) == list(attacks(300, 5))
        assert list(attacks(300, 5)) != list(attacks(300, 6))

    def test_every_kind_comes_by_each_way(self) -> None:
        seen = Counter((attack.way, attack.category) for attack in attacks(6000, 1))
        categories = {kind.make(random.Random(seed)).category for kind in KINDS for seed in (1, 2, 3)}
        assert {category for _, category in seen} >= categories
        assert sum(count for (way, _), count in seen.items() if way == "direct") == 3000
        assert not [1 for way, category in seen if way == "direct" and "token" in category]

    def test_kinds_can_be_left_out(self) -> None:
        kinds = [kind for kind in KINDS if kind.given_up]
        given_up = {kind.make(random.Random(seed)).category for kind in kinds for seed in range(9)}
        assert given_up == {"a caller that goes", "no time", "a stream left open"}
        assert {attack.category for attack in attacks(2000, 1)} >= given_up
        assert not {attack.category for attack in attacks(2000, 1, given_up=False)} & given_up

    @pytest.mark.parametrize("model", MODELS)
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

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.make(random.Random(1)).category)
    def test_comes_back_from_its_file(self, kind: Kind) -> None:
        attack = kind.make(random.Random(3)).model_copy(update={"way": "direct"})
        assert Attack.model_validate_json(attack.model_dump_json()) == attack

    def test_a_file_may_have_either_alphabet_of_base64(self) -> None:
        attack = Attack(category="noise", message=bytes(range(256)))
        kept = json.loads(attack.model_dump_json())
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            assert Attack.model_validate_json(json.dumps(kept | {"message": encode(attack.message).decode()})) == attack

    def test_is_read_again(self, tmp_path: Path) -> None:
        given = list(attacks(20, 3))
        (tmp_path / "complaints.jsonl").write_text("".join(f"{each.model_dump_json()}\n" for each in given))
        assert read(tmp_path / "complaints.jsonl") == given

    @pytest.mark.parametrize(
        ("text", "said"),
        [("", "holds no request"), ("{}", "other lines"), ("no JSON", "other lines"), ("[1]", "other lines")],
    )
    def test_what_cannot_be_sent_again_is_named(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "complaints.jsonl").write_text(text)
        with pytest.raises(DataError, match=said):
            read(tmp_path / "complaints.jsonl")
        with pytest.raises(DataError, match="No such file"):
            read(tmp_path / "none.jsonl")

    def test_a_lying_length_must_be_refused(self) -> None:
        assert all(
            attack.refused for attack in (length(random.Random(n)) for n in range(30)) if "length" in attack.category
        )


def record(**changes: Any) -> dict[str, Any]:
    looks = [{"requests": n, "memory": {"private": 100.0 + n / 400, "gateway": 50.0}} for n in range(0, 4000, 100)]
    return {
        "seconds": 10.0,
        "requests": 1000,
        "triton": "2.51.0",
        "seed": 7,
        "given_up": True,
        "ends": {"noise": {"direct": {"INVALID_ARGUMENT": 500}, "gateway": {"OK": 500}}},
        "slowest_s": {"noise": {"direct": 0.1, "gateway": 0.2}},
        "complaints": [],
        "others": {"direct, beside attacks": {"count": 9, "p50": 5.0, "p99": 9.0}},
        "others_wrong": [],
        "looks": looks,
        "growth_mb": watch.growth(looks),
        "deaths": [],
        "missed": 0,
        "processes_ended": [],
        "restricted_outside": 0,
        "broken": [],
        **changes,
    }


class Shop:
    """Answers like a client, until it is told otherwise."""

    def __init__(self) -> None:
        self.hits: Any = [SimpleNamespace(product_id="lamp-1", score=0.5)]

    def search(self, query: str, **options: Any) -> Any:
        if isinstance(self.hits, SearchError):
            raise self.hits
        return SimpleNamespace(hits=self.hits)


class TestOthers:
    @pytest.mark.parametrize(
        ("hits", "what"),
        [
            ([], "otherwise"),
            ([SimpleNamespace(product_id="lamp-1", score=0.5000001)], "otherwise"),
            (ConnectionFailed("no server"), "failed"),
        ],
    )
    def test_a_search_that_changes_or_fails_is_noted(self, hits: Any, what: str) -> None:
        shop = Shop()
        others = Others({"direct": cast(SearchClient, shop)}, ["lamp"])
        others.all("before")
        assert others.wrong == []
        shop.hits = hits
        others.all("afterwards")
        assert len(others.wrong) == 1
        assert what in others.wrong[0].words
        assert others.wrong[0].failed == (what == "failed")

    def test_what_fails_at_a_site_that_is_away_is_told_apart(self) -> None:
        deaths = [Death("private", 100.0, 104.0), Death("public", 200.0, 204.0)]
        wrong = [
            Wrong("direct", 90.0, True, "before it died"),
            Wrong("direct", 101.0, True, "missed"),
            Wrong("direct", 105.0, True, "missed, not yet connected again"),
            Wrong("direct", 102.0, False, "another answer"),
            Wrong("gateway", 101.0, True, "the gateway has another site"),
            Wrong("direct", 201.0, True, "another site died"),
        ]
        kept, missed = apart(wrong, deaths)
        assert [each.words for each in kept] == [
            "before it died",
            "another answer",
            "the gateway has another site",
            "another site died",
        ]
        assert missed == 2

    def test_they_search_until_the_end(self) -> None:
        others = Others({"direct": cast(SearchClient, Shop())}, ["lamp", "shoes"])
        with others.searching():
            time.sleep(0.1)
        assert len(others.latencies["direct, beside attacks"]) >= 2


class TestVerdict:
    def test_memory_grows_from_where_it_had_settled(self) -> None:
        assert record()["growth_mb"] == {"private": pytest.approx(6.25), "gateway": 0.0}
        assert watch.growth(record()["looks"][:10]) == {}

    def test_all_is_well(self) -> None:
        assert broken(record()) == []

    @pytest.mark.parametrize(
        "changes",
        [
            {"deaths": [{"site": "private", "second": 3.0, "away_s": 4.0}]},
            {"deaths": [{"site": "private", "second": 3.0, "away_s": None}]},
            {"processes_ended": ["public"]},
            {"others_wrong": ["direct: 'lamp' failed"]},
            {"complaints": [1]},
            {"growth_mb": {"gateway": watch.GROWTH_MB + 1}},
            {"restricted_outside": 1},
        ],
    )
    def test_each_of_these_is_broken(self, changes: dict[str, Any]) -> None:
        assert len(broken(record(**changes))) == 1

    def test_the_report_says_so(self, tmp_path: Path) -> None:
        assert "Nothing broke" in text(record())
        died = record(deaths=[{"site": "private", "second": 3.0, "away_s": 4.0}], missed=7)
        assert broken(died) == [
            "the private site died 1 times and was back within 4.0 s",
            "7 direct searches of others failed meanwhile",
        ]
        assert "**Broken**: the private site died" in text({**died, "broken": broken(died)})
        assert "Left out" not in text(record())
        assert "**Left out: calls that their callers give up**" in text(record(given_up=False))
        picture(tmp_path / "fuzz.png", lambda figure: draw(figure, record()), (13, 5))
        assert (tmp_path / "fuzz.png").stat().st_size > 10_000


def test_of_the_tokens_one_alone_is_good_for_everything(tmp_path: Path) -> None:
    for folder in ("own", "other"):
        write_new(tmp_path / folder, make_keys())
    made = tokens(tmp_path / "own", tmp_path / "other")
    key = KeySet.import_key_set(cast(Any, make_jwks([tmp_path / "own/token.key"])))
    rules = jwt.JWTClaimsRegistry(exp={"essential": True}, aud={"essential": True, "value": AUDIENCE})

    def holds(token: str | None) -> bool:
        try:
            rules.validate(jwt.decode(token or "", key, algorithms=[ALGORITHM]).claims)
        except (JoseError, ValueError):
            return False
        return True

    assert {name for name, token in made.items() if holds(token)} == {"good", "search alone"}
    assert made.keys() - {"good", "search alone"} == set(WORTHLESS)
