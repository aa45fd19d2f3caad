"""What README and docs show: fenced blocks, the commands in them, and how a test may run each."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
SHOWN = ("text", "mermaid")
"""Languages of blocks that nobody types."""
TYPED = ("sh", "python", "json", "toml")
PYTHON = ".venv/bin/python"
How = Literal["run", "start", "read", "dry", "check"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(?:\.venv/bin/)?python -m ([^`]+)`")

STARTS = ("deploy.embedded up", "deploy.embedded down", "deploy.hybrid", "deploy.audit", "deploy.consumer")
"""Programs that start or end servers, or look at what two sites wrote."""
WORKS = ("build", "build.behaviour", "build.datasets", "build.engines", "build.evaluate", "build.frontier")
WORKS += ("build.shelf", "build.sample", "loadtests.hybrid")
"""Programs that train, measure or load data: they take minutes, a network or both."""
QUICK = ("clients.events", "clients.profile", "clients.recommend", "clients.search", "build.change", "deploy.security")
QUICK += ("deploy.embedded status", "deploy.embedded logs", "build --list", "build --why")
"""Programs that end within seconds."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command line as it is printed, its continuation lines joined."""

    block: Block
    text: str

    def __str__(self) -> str:
        return f"{self.block}: {self.text[:60]}"

    @property
    def words(self) -> list[str]:
        """Words of the command, without the settings before it."""
        words = shlex.split(self.text.replace("\\\n", " "), comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        return words

    @property
    def program(self) -> str:
        """Module that `python -m` runs; empty where it is another command."""
        words = self.words
        return words[2] if words[:2] == [PYTHON, "-m"] else ""

    @property
    def how(self) -> How:
        """How a test treats it.

        - run: as it stands, in a folder that is not the project's.
        - start: as it stands, by a slow test, and as "read" by another.
        - read: by the program's own parser, which says whether the arguments could be used.
        - dry: by `make -n`; the commands that it prints are read.
        - check: what it names has to exist.

        Raises:
            LookupError: no rule says how; add its program to one of the lists above.
        """
        words, program = self.words, self.program
        if words[0] == "make":
            return "dry"
        if words[0] in ("docker", ".venv/bin/pip") or program == "locust":
            return "check"
        if words[0] in ("curl", "ln"):
            return "run"
        names = {program, *(f"{program} {word}" for word in words[3:])}
        lists: tuple[tuple[How, tuple[str, ...]], ...] = (("run", QUICK), ("start", STARTS), ("read", WORKS))
        for how, programs in lists:
            if names & set(programs):
                return how
        raise LookupError(f"{self}: no rule says how a test may run it")


def blocks(language: str | None = None) -> list[Block]:
    """Return the fenced blocks of all pages, or those of a language."""
    return [
        block
        for page in PAGES
        for block in _of(page, page.read_text(encoding="utf-8"))
        if language in (None, block.language)
    ]


def commands() -> list[Command]:
    """Return the commands of all `sh` blocks, in the order of their pages."""
    return [Command(block, text) for block in blocks("sh") for text in _lines(block.text)]


def mentions() -> list[tuple[str, str]]:
    """Return the programs that running text mentions with `python -m`, each with its page."""
    found = ((page, match) for page in PAGES for match in INLINE.findall(_without_blocks(page)))
    return sorted({(page.name, match) for page, match in found})


def _of(page: Path, text: str) -> list[Block]:
    return [Block(page, text.count("\n", 0, m.start()) + 1, m[1], m[2]) for m in FENCE.finditer(text)]


def _without_blocks(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def _lines(text: str) -> list[str]:
    """Join lines that end with a backslash or within quotes."""
    found, begun = [], ""
    for line in text.splitlines():
        begun = f"{begun}\n{line}" if begun else line
        if not begun.strip() or begun.endswith("\\"):
            continue
        try:
            shlex.split(begun, comments=True)
        except ValueError:  # a quotation goes on
            continue
        found.append(begun)
        begun = ""
    assert not begun, f"an unfinished command: {begun}"
    return found
