import pytest

from build.data.foreign import read_pairs
from shelfbridge.catalogue import Label
from shelfbridge.errors import DataError


def test_pairs_are_read_with_their_gains(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("query\tname\tlabel\nsofa\tBlue Sofa\tRelevant\nsofa\tLamp\tNot relevant\nsofa\tSettee\tS\n")
    assert [(pair.query, pair.name, pair.gain) for pair in read_pairs(file).rows] == [
        ("sofa", "Blue Sofa", 1.0),
        ("sofa", "Lamp", 0.0),
        ("sofa", "Settee", 0.1),
    ]


@pytest.mark.parametrize("label", ["S", "Substitute", "Partial", "partial"])
def test_what_answers_in_part_counts_as_in_the_shops_own_judgments(tmp_path, label):
    file = tmp_path / "pairs.tsv"
    file.write_text(f"query\tname\tlabel\nsofa\tSettee\t{label}\n")
    assert read_pairs(file).rows[0].gain == Label.SUBSTITUTE.gain


def test_a_bad_pair_is_reported_and_the_others_are_kept(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("query\tname\tlabel\n\tBlue Sofa\tRelevant\nsofa\tLamp\tperhaps\nsofa\tSettee\tRelevant\n")
    pairs = read_pairs(file)
    assert [pair.name for pair in pairs.rows] == ["Settee"]
    assert [rejection.line for rejection in pairs.rejected] == [2, 3]


def test_a_file_without_one_good_pair_says_what_a_row_needs(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("query\tname\tlabel\nsofa\tLamp\tperhaps\n")
    with pytest.raises(DataError, match="needs query, name, and label"):
        read_pairs(file)
