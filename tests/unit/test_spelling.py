import pytest

from shelfbridge.catalogue import Product
from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval.spelling import MOST_CORRECTED, Spelling


@pytest.fixture
def spelling(tmp_path):
    titles = ("Waterproof Hiking Boots", "Wireless Headphones for Running", "Café Kettle 64gb", "保温杯 Kettle")
    Spelling.write(tmp_path, [Product(product_id=title, title=title) for title in titles])
    return Spelling.open(tmp_path)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("wterproof hikng boots", "waterproof hiking boots"),
        ("wireles hedphones", "wireless headphones"),
        ("KETTEL", "kettle"),
        ("hiking boots", "hiking boots"),
        ("cafe", "cafe"),
    ],
)
def test_unknown_words_become_the_likest_known_ones(spelling, query, expected):
    assert spelling.corrected(query) == expected


@pytest.mark.parametrize("query", ["xyzzyplugh", "fot", "64gbb 128", "保溫壺", "b00tz"])
def test_what_is_like_nothing_or_short_or_no_word_stays(spelling, query):
    assert spelling.corrected(query) == query


def test_the_more_frequent_of_two_equally_like_words_wins(tmp_path):
    titles = ("Bike Rack", "Hike Map", "Bike Bell")
    Spelling.write(tmp_path, [Product(product_id=title, title=title) for title in titles])
    assert Spelling.open(tmp_path).corrected("xike") == "bike"


def test_only_the_first_few_unknown_words_are_looked_up(spelling):
    wrong = [f"kett{letter}le" for letter in "abcdefgh"[: MOST_CORRECTED + 2]]
    assert spelling.corrected(" ".join(wrong)).split() == ["kettle"] * MOST_CORRECTED + wrong[MOST_CORRECTED:]


@pytest.mark.parametrize("query", ["without boots", "armless"])
def test_words_that_deny_are_never_taken_for_others(tmp_path, query):
    Spelling.write(tmp_path, [Product(product_id="1", title="Withouts Harmless Boots")])
    assert Spelling.open(tmp_path).corrected(query) == query


def test_a_damaged_file_says_what_to_do(tmp_path):
    (tmp_path / "words.json").write_text("{")
    with pytest.raises(ArtefactError, match="build the release again"):
        Spelling.open(tmp_path)
