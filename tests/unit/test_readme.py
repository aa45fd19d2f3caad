"""The README's figures are those of the JSON files beside it."""

from build.readme import ROOT, filled


def test_the_readme_holds_what_the_programs_measured():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert filled(text) == text
