"""The figures of README and docs are those of the JSON files beside them."""

import pytest

from build.readme import PART, blocks, filled, pages, tables, without_headings


@pytest.mark.parametrize("page", list(pages()), ids=lambda page: page.name)
def test_a_page_holds_what_the_programs_measured(page):
    text = page.read_text(encoding="utf-8")
    assert filled(text) == text


def test_each_part_stands_on_one_page():
    found = [name for page in pages() for _, name, _ in PART.findall(page.read_text(encoding="utf-8"))]
    assert sorted(found) == sorted(blocks())


def test_a_report_is_taken_to_the_end_of_its_first_tables():
    first, second, third = ("\n".join(f"| {name} |" for name in names) for names in ("ab", "cd", "ef"))
    parts = ["About.", "**x** was not measured.", first, second, "About the third.", third, "The end."]
    assert tables("\n\n".join(parts), 2) == "\n\n".join(parts[:4]) + "\n"


def test_headings_of_a_report_are_none_of_the_readme():
    assert without_headings("## All\n\n| #1 |\n### More\n") == "**All**\n\n| #1 |\n**More**\n"
