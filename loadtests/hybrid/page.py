"""Reports as a page of HTML that needs nothing beside it."""

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from shelfbridge.measure.report import Table


def write(
    file: Path,
    *,
    title: str,
    sentence: str,
    kept: bool,
    tables: Sequence[Table],
    pictures: Sequence[Path],
    links: Sequence[tuple[str, str]] = (),
) -> None:
    """Write a page; pictures go into it, links are relative to it."""
    encoded = [base64.b64encode(picture.read_bytes()).decode() for picture in pictures]
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    template = pages.get_template("page.html")
    file.write_text(
        template.render(title=title, sentence=sentence, kept=kept, tables=tables, pictures=encoded, links=links),
        encoding="utf-8",
    )
