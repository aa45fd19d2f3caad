"""The README's figures are those of the JSON files beside it."""

from build.readme import ROOT, filled, tables, without_headings


def test_the_readme_holds_what_the_programs_measured():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert filled(text) == text


def test_a_report_is_taken_to_the_end_of_its_first_tables():
    first, second, third = ("\n".join(f"| {name} |" for name in names) for names in ("ab", "cd", "ef"))
    parts = ["About.", "**x** was not measured.", first, second, "About the third.", third, "The end."]
    assert tables("\n\n".join(parts), 2) == "\n\n".join(parts[:4]) + "\n"


def test_headings_of_a_report_are_none_of_the_readme():
    assert without_headings("## All\n\n| #1 |\n### More\n") == "**All**\n\n| #1 |\n**More**\n"
