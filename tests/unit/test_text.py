"""Normalisation, the check of a query, and the terms of the lexical index."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfbridge.contract import MAX_QUERY_CHARS
from shelfbridge.errors import InvalidQuery
from shelfbridge.text import check_query, lexical_tokens, normalise

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
PEOPLE_TYPE = st.text(st.sampled_from("abEÉéßñ'’ 019.,/-\u0301\u200dДйأح手机コーヒーｶﾞ한국Ａ１½ﬁ𠮷々🎁"), max_size=40)


class TestNormalise:
    @settings(deadline=None)
    @given(ANY_TEXT | PEOPLE_TYPE)
    def test_is_idempotent(self, text):
        assert normalise(normalise(text)) == normalise(text)

    @settings(deadline=None)
    @given(ANY_TEXT)
    def test_gives_text_that_can_be_sent(self, text):
        normalise(text).encode("utf-8")

    @pytest.mark.parametrize(
        ("text", "plain"),
        [
            ("  red \t\r\n shoes\u3000", "red shoes"),
            ("Ｎｉｋｅ　１２", "Nike 12"),
            ("e\u0301", "é"),
            ("e\u200d\u0301", "é"),
            ("a\x00b\x1bc\x85d", "a b c d"),
            ("run\u00adning", "running"),
            ("\ufeffred\u200b", "red"),
            ("red\ue000shoes", "red shoes"),
            ("\u200e\u202e", ""),
            ("½ ﬁt x²", "1⁄2 fit x2"),
        ],
    )
    def test_leaves_one_form_of_each_text(self, text, plain):
        assert normalise(text) == plain

    def test_keeps_characters_that_unicode_has_not_assigned_yet(self):
        assert normalise("\U0001fbfd") == "\U0001fbfd"


class TestCheckQuery:
    @pytest.mark.parametrize(
        "query", ["shoes", "👟", "跑步鞋", "حذاء أحمر", "נעליים", "x" * MAX_QUERY_CHARS, "鞋" * MAX_QUERY_CHARS, "a\tb"]
    )
    def test_takes_what_shoppers_write(self, query):
        assert check_query(query.encode()) == normalise(query)

    def test_normalises(self):
        assert check_query("  Ｒed\u3000shoes ".encode()) == "Red shoes"

    @pytest.mark.parametrize("raw", [b"", b"  \n\t ", "\u3000".encode(), "\u200b\u200e".encode()])
    def test_refuses_blanks(self, raw):
        with pytest.raises(InvalidQuery, match="query is empty; send"):
            check_query(raw)

    @pytest.mark.parametrize("query", ["x" * (MAX_QUERY_CHARS + 1), "鞋" * (MAX_QUERY_CHARS + 1)])
    def test_refuses_what_is_too_long(self, query):
        with pytest.raises(InvalidQuery, match=f"{MAX_QUERY_CHARS + 1} characters long; send at most"):
            check_query(query.encode())

    def test_refuses_megabytes_without_decoding_them(self):
        with pytest.raises(InvalidQuery, match="1000000 bytes long"):
            check_query(b"\xff" * 1_000_000)

    @pytest.mark.parametrize("raw", [b"caf\xe9", b"\xff\xfe", "鞋".encode()[:-1], b"\xed\xa0\x80", b"\xc0\x80"])
    def test_refuses_what_is_not_utf_8(self, raw):
        with pytest.raises(InvalidQuery, match=r"not UTF-8 \(byte \d\)"):
            check_query(raw)

    @pytest.mark.parametrize(
        ("char", "name"), [("\x00", "U\\+0000"), ("\x1b", "U\\+001B"), ("\x7f", "U\\+007F"), ("\x85", "U\\+0085")]
    )
    def test_refuses_control_characters_by_name_and_place(self, char, name):
        with pytest.raises(InvalidQuery, match=f"{name} at 3"):
            check_query(f"red{char}shoes".encode())

    @settings(deadline=None)
    @given(st.binary(max_size=80) | ANY_TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")))
    def test_gives_a_normal_text_or_a_reason(self, raw):
        try:
            text = check_query(raw)
        except InvalidQuery as error:
            assert str(error).startswith("query ")  # noqa: PT017
        else:
            assert text == normalise(text) != ""

    def test_does_not_repeat_the_query(self):
        with pytest.raises(InvalidQuery) as raised:
            check_query(b"secret\x00wish")
        assert "secret" not in str(raised.value)


class TestLexicalTokens:
    @pytest.mark.parametrize(
        ("text", "terms"),
        [
            ("Running shoes", ["run", "shoe"]),
            ("café CAFÉ cafe\u0301", ["cafe"] * 3),
            ("Straße STRASSE", ["strass"] * 2),
            ("64GB 2.5in 3/4 1,000", ["64", "gb", "2.5", "in", "3/4", "1,000"]),
            ("5. 7,", ["5", "7"]),
            ("½ cup", ["1", "2", "cup"]),
            ("men's men’s mens", ["men"] * 3),
            ("Ｎｉｋｅ　１２", ["nike", "12"]),
            ("t-shirt snake_case", ["t", "shirt", "snake", "case"]),
            ("手机壳", ["手机", "机壳"]),
            ("鞋", ["鞋"]),
            ("iPhone手机壳red", ["iphon", "手机", "机壳", "red"]),
            ("コーヒー", ["コー", "ーヒ", "ヒー"]),
            ("ｶﾞﾑ", ["ガム"]),
            ("한국어", ["한국", "국어"]),
            ("佐々木", ["佐々", "々木"]),
            ("𠮷野家", ["𠮷野", "野家"]),
            ("حذاء أحمر", ["حذاء", "أحمر"]),
            ("run\u00adning", ["run"]),
            ("🎁 — !", []),
            ("", []),
        ],
    )
    def test_cut_as_the_index_expects(self, text, terms):
        assert lexical_tokens(text) == terms

    @settings(deadline=None)
    @given(PEOPLE_TYPE)
    def test_do_not_depend_on_case(self, text):
        assert lexical_tokens(text.casefold()) == lexical_tokens(text)

    @settings(deadline=None)
    @given(PEOPLE_TYPE | ANY_TEXT)
    def test_do_not_depend_on_normalisation(self, text):
        assert lexical_tokens(normalise(text)) == lexical_tokens(text)

    @settings(deadline=None)
    @given(ANY_TEXT)
    def test_hold_no_blank_and_no_empty_term(self, text):
        assert all(term and not any(c.isspace() for c in term) for term in lexical_tokens(text))


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("desk chair without wheels", ["desk", "chair", "\u00acwheel"]),
        ("chair without arm rests and wheels", ["chair", "\u00acarm", "\u00acrest", "and", "wheel"]),
        ("jacket without a hood", ["jacket", "\u00achood"]),
        ("non-stick pan", ["\u00acstick", "pan"]),
        ("no show socks", ["\u00acshow", "sock"]),
        ("not only waterproof", ["\u00acwaterproof"]),
        ("lamp w/o cord", ["lamp", "\u00accord"]),
        ("bpa free bottle", ["\u00acbpa", "bottl"]),
        ("usb 3.0 free", ["usb", "3.0", "free"]),
        ("lamp w/o", ["lamp"]),
        ("sleeveless dress", ["sleeveless", "\u00acsleev", "dress"]),
        ("unless", ["unless"]),
    ],
)
def test_what_is_denied_is_another_term(text, terms):
    assert lexical_tokens(text) == terms
