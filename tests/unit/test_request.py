"""What a request may ask for, and what is said of one that asks for something else."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfbridge.contract import DEFAULT_K, MAX_K
from shelfbridge.errors import InvalidQuery
from shelfbridge.request import MAX_FILTER_BYTES, Filters, SearchRequest, check_k

KNOWN = "known fields: category, brand, price_min, price_max, in_stock"


def refusal(raw: str | bytes) -> str:
    with pytest.raises(InvalidQuery) as raised:
        Filters.parse(raw if isinstance(raw, bytes) else raw.encode())
    return str(raised.value)


class TestFilters:
    def test_are_read(self):
        raw = '{"category": "Tents", "brand": "Ｎike", "price_min": 0, "price_max": 9.5, "in_stock": true}'
        assert Filters.parse(raw.encode()) == Filters(
            category="Tents", brand="Ｎike", price_min=0.0, price_max=9.5, in_stock=True
        )

    @pytest.mark.parametrize("raw", ["{}", '{"brand": null}'])
    def test_may_ask_for_nothing(self, raw):
        assert Filters.parse(raw.encode()) == Filters()

    def test_may_ask_for_one_price(self):
        assert Filters.parse(b'{"price_min": 5, "price_max": 5}').price_min == 5.0

    @pytest.mark.parametrize(
        ("raw", "reason"),
        [
            ('{"colour": "red"}', "colour: Extra inputs are not permitted"),
            ('{"Brand": "x"}', "Brand: Extra inputs are not permitted"),
            ('{"price_min": "5"}', "price_min: Input should be a valid number"),
            ('{"price_min": true}', "price_min: Input should be a valid number"),
            ('{"in_stock": 1}', "in_stock: Input should be a valid boolean"),
            ('{"in_stock": "yes"}', "in_stock: Input should be a valid boolean"),
            ('{"brand": 5}', "brand: Input should be a valid string"),
            ('{"brand": ["a"]}', "brand: Input should be a valid string"),
            ('{"category": {"a": {"b": []}}}', "category: Input should be a valid string"),
            ('{"price_min": NaN}', "price_min: Input should be a finite number"),
            ('{"price_max": Infinity}', "price_max: Input should be a finite number"),
            ('{"price_max": 1e999}', "price_max: Input should be a finite number"),
            ('{"price_max": -0.01}', "price_max: Input should be greater than or equal to 0"),
            ('{"price_min": 9, "price_max": 1}', "price_min is above price_max"),
            ("[]", "Input should be an object"),
            ("null", "Input should be an object"),
            ("", "Invalid JSON"),
            ('{"brand": "a"', "Invalid JSON"),
            ('{"brand": "\\ud800"}', "Invalid JSON"),
            ("[" * 4000, "Invalid JSON"),
            (b'{"brand": "caf\xe9"}', "Invalid JSON"),
        ],
    )
    def test_are_refused_by_field_and_reason(self, raw, reason):
        said = refusal(raw)
        assert reason in said
        assert said.startswith("filters: ")
        assert said.endswith(KNOWN)

    def test_are_refused_whole_when_one_field_is_wrong(self):
        said = refusal('{"brand": "x", "price_min": -1, "in_stock": 1}')
        assert "price_min: " in said
        assert "in_stock: " in said

    def test_of_more_than_the_limit_are_refused_unread(self):
        assert refusal(b"\xff" * (MAX_FILTER_BYTES + 1)) == (
            f"filters are {MAX_FILTER_BYTES + 1} bytes long; send at most {MAX_FILTER_BYTES}"
        )

    def test_up_to_the_limit_are_read(self):
        brand = "x" * (MAX_FILTER_BYTES - len('{"brand": ""}'))
        assert Filters.parse(json.dumps({"brand": brand}).encode()).brand == brand


class TestPrivacy:
    @pytest.mark.parametrize(
        "raw",
        [
            '{"colour": "SECRET"}',
            '{"price_min": "SECRET"}',
            '{"in_stock": "SECRET"}',
            '{"brand": ["SECRET"]}',
            '{"category": {"SECRET": 1}}',
            '{"brand": "SECRET"',
            '"SECRET"',
            '["SECRET"]',
            "SECRET",
        ],
    )
    def test_no_error_repeats_what_was_sent(self, raw):
        assert "SECRET" not in refusal(raw)

    def test_no_error_repeats_a_price(self):
        said = refusal('{"price_min": 987.25, "price_max": 123.75}')
        assert "987" not in said
        assert "123" not in said

    def test_a_field_name_is_cut_short(self):
        assert len(refusal(json.dumps({"x" * 4000: 1}))) < 300

    @settings(deadline=None, max_examples=50)
    @given(
        st.dictionaries(
            st.sampled_from([*Filters.model_fields, "other"]),
            st.recursive(
                st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
                max_leaves=8,
            ),
            max_size=4,
        )
    )
    def test_any_json_is_read_or_refused(self, fields):
        raw = json.dumps(fields).encode()
        try:
            Filters.parse(raw)
        except InvalidQuery as error:
            assert str(error).endswith(KNOWN)  # noqa: PT017
            return
        assert fields.keys() <= Filters.model_fields.keys()


class TestRequest:
    @pytest.mark.parametrize("k", [1, DEFAULT_K, MAX_K])
    def test_k_within_bounds_is_kept(self, k):
        assert check_k(k) == k

    @pytest.mark.parametrize("k", [0, -1, MAX_K + 1, -(2**31), 2**31 - 1])
    def test_k_out_of_bounds_is_refused(self, k):
        with pytest.raises(InvalidQuery, match=f"ask for 1 to {MAX_K} products"):
            check_k(k)

    def test_travels_between_steps_unchanged(self):
        request = SearchRequest(
            text='red "鞋" \U0001f45f', k=3, filters=Filters(category="Ä", price_max=0.1), user="u", with_payload=True
        )
        assert SearchRequest.model_validate_json(request.model_dump_json()) == request
