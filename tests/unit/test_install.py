"""What an installation brings: the base package is the client, for other people's programs; an editable one is all of
the project's programs, from any folder."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.unit.scripted_server import found, serve
from tests.unit.test_client_shopper import receipts, shelf

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
IMPORT_WITHOUT = """
import sys
modules, absent = (names.split() for names in sys.argv[1:])
sys.modules.update(dict.fromkeys(absent))
for module in modules:
    __import__(module)
"""
PROGRAMS = "clients.search clients.recommend clients.events clients.profile clients.demo"
ASK = """
import asyncio, sys, time, numpy
from shelfbridge.client import AsyncSearchClient, AsyncShopperClient, SearchClient, ShopperClient
from shelfbridge.profiles import Event

address, event = sys.argv[1], Event(event_id="e", user="u", kind="view", product_id="P", time=time.time())

async def on_loop():
    async with AsyncSearchClient(address) as searching, AsyncShopperClient(address) as shopping:
        hits = len((await searching.search("boots", k=3)).hits), len((await shopping.recommend(user="u")).hits)
        return *hits, (await shopping.send([event] * 2)).accepted

with SearchClient(address) as searching, ShopperClient(address) as shopping:
    hits = len(searching.search("boots", k=3).hits), len(shopping.recommend(user="u").hits)
    answers = *hits, shopping.send([event] * 2).accepted
print(numpy.__version__.split(".")[0], *answers, *asyncio.run(on_loop()))
"""


def closure(requirements: list[str]) -> set[str]:
    """Distributions that requirements bring, in the normalised form of their names."""
    seen, waiting = set(), [(Requirement(one), "") for one in requirements]
    while waiting:
        wanted, extra = waiting.pop()
        if (wanted.marker and not wanted.marker.evaluate({"extra": extra})) or (key := str(wanted)) in seen:
            continue
        seen.add(key)
        seen.add(re.sub(r"[-_.]+", "-", wanted.name).lower())
        for each in metadata.requires(wanted.name) or ():
            waiting += [(Requirement(each), of) for of in ("", *wanted.extras)]
    return seen


def others(requirements: list[str]) -> list[str]:
    """What can be imported here, the standard library apart, and is in no distribution that requirements bring."""
    brought = closure(requirements) | {"shelfbridge"}
    return [
        module
        for module, owners in metadata.packages_distributions().items()
        if module.isidentifier() and not brought & {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners}
    ]


@pytest.mark.parametrize(
    ("modules", "extra"),
    [("shelfbridge.client", []), (PROGRAMS, ["pydantic-settings", "rich"])],
    ids=["library", "programs"],
)
def test_a_client_imports_only_what_is_required(modules, extra):
    """With everything out of reach that the requirements do not bring, as in another program's environment."""
    absent = others(PROJECT["dependencies"] + extra)
    assert {"Stemmer", "faiss", "onnxruntime", "pyarrow"} < set(absent)
    command = [sys.executable, "-c", IMPORT_WITHOUT, modules, " ".join(absent)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_base_bounds_no_numpy():
    numpy = next(one for one in map(Requirement, PROJECT["dependencies"]) if one.name == "numpy")
    assert "2.4" in numpy.specifier
    assert any(Requirement(one).name == "numpy" for one in PROJECT["optional-dependencies"]["serve"])


def test_make_installs_the_programs():
    rule = ["make", "--dry-run", "--always-make", ".venv/installed"]
    said = subprocess.run(rule, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(r"pip install .*--editable \.$", said, re.MULTILINE)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """`python` of a new environment, empty but for pip, and a copy of the sources."""
    folder = tmp_path_factory.mktemp("install")
    for name in ("shelfbridge", "clients", "build"):
        shutil.copytree(ROOT / name, folder / "sources" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "sources")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    got = pip(python, "numpy>=2", PROJECT["dependencies"][1])
    if got.returncode:
        pytest.skip(f"no package index with numpy 2 can be reached: {got.stderr.strip().splitlines()[-1]}")
    return python, folder / "sources"


def pip(python, *wanted):
    """What `pip install` says."""
    return subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *wanted], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
class TestInNewEnvironment:
    def test_the_base_package_is_a_client_beside_numpy_2(self, environment, tmp_path):
        python, sources = environment
        before = sorted(path for path in (sources / "build").rglob("*"))
        got = pip(python, "numpy>=2", str(sources))
        assert got.returncode == 0, got.stderr
        assert sorted(path for path in (sources / "build").rglob("*")) == before  # setuptools works elsewhere
        answers = {"search": found, "recommend": shelf, "events": receipts}
        with serve(lambda seen, context: answers[seen.request.model_name](seen, context)) as server:
            done = subprocess.run(
                [python, "-c", ASK, server.address], cwd=tmp_path, capture_output=True, text=True, check=False
            )
        assert done.stdout.split() == ["2", "3", "2", "1", "3", "2", "1"], done.stderr
        programs = [python, "-c", "import clients"]
        assert subprocess.run(programs, cwd=tmp_path, capture_output=True, check=False).returncode

    def test_an_editable_one_brings_the_programs(self, environment, tmp_path):
        python, sources = environment
        got = pip(python, "--editable", str(sources), "rich", "pydantic-settings")
        assert got.returncode == 0, got.stderr
        done = subprocess.run(
            [python, "-m", "clients.search", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert "waterproof hiking boots" in done.stdout, done.stderr
