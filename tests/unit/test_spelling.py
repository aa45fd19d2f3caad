from random import Random

import pytest
from rapidfuzz import process
from rapidfuzz.distance import OSA

from shelfbridge.catalogue import Product
from shelfbridge.errors import ArtefactError
from shelfbridge.retrieval.spelling import LIKENESS, MOST_CORRECTED, Spelling


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


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Words of few syllables, many of them alike, the frequent ones first; and their index."""
    random = Random(2)
    syllables = [a + b for a in "bdklmnprst" for b in ("a", "el", "in", "o")]
    drawn = ["".join(random.choices(syllables, k=random.randint(2, 5))) for _ in range(2500)]
    titles = [" ".join(drawn[:end]) for end in range(100, 2500, 100)]
    folder = tmp_path_factory.mktemp("many")
    Spelling.write(folder, [Product(product_id=str(row), title=title) for row, title in enumerate(titles)])
    spelling = Spelling.open(folder)
    return [spelling.words[number] for number in range(len(spelling.words))], spelling


def mistyped(word: str, errors: int, random: Random) -> str:
    for _ in range(errors):
        at, letter = random.randrange(len(word)), random.choice("abdekloprst")
        kept, swapped = word[:at] + word[at + 1 :], word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :]
        word = random.choice([word[:at] + letter + word[at:], word[:at] + letter + word[at + 1 :], kept, swapped])
    return word


@pytest.mark.parametrize("errors", [1, 2, 3])
def test_the_likest_word_is_that_of_a_look_at_all_words(many, errors):
    words, spelling = many
    random = Random(errors)
    queries = [mistyped(word, errors, random) for word in random.choices(words, k=150) if len(word) <= 12]
    queries = [word for word in queries if len(word) >= 4 and spelling.words.find(word) < 0]
    expected = [
        process.extractOne(word, words, scorer=OSA.normalized_similarity, score_cutoff=LIKENESS) for word in queries
    ]
    assert sum(found is not None for found in expected) > 30
    assert [spelling.corrected(word) for word in queries] == [
        word if found is None else found[0] for word, found in zip(queries, expected, strict=True)
    ]


def test_an_unknown_word_is_compared_with_few(many, monkeypatch):
    words, spelling = many
    compared = []
    monkeypatch.setattr(process, "extractOne", lambda word, choices, **_: compared.append(len(choices)))
    for word in words[:50]:
        spelling.corrected(f"{word[:2]}x{word[3:]}")
    assert sum(compared) / len(compared) < len(words) / 5


def test_a_damaged_file_says_what_to_do(tmp_path):
    Spelling.write(tmp_path, [Product(product_id="1", title="Kettle")])
    (tmp_path / "words.npy").write_text("{")
    with pytest.raises(ArtefactError, match="build the release again"):
        Spelling.open(tmp_path)
