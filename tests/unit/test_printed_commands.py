"""What README and docs print can be typed as it stands: here what needs no server.

Each command has a rule (`tests.pages`). What trains, measures or starts servers is read by the program's own parser;
`tests/functional/test_pages.py` runs the others against a real server.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module, util
from pathlib import Path

import pytest
import yaml

from deploy.audit.settings import AuditSettings
from deploy.hybrid import load
from deploy.hybrid.topology import EXAMPLE, HybridSettings
from deploy.security.new_keys import make_keys
from shelfbridge import release, retrieval  # noqa: F401 - their gauges
from shelfbridge.contract import MODELS
from shelfbridge.gauges import Gauge
from shelfbridge.program import BAD_INPUT, FAILED, OK, UNAVAILABLE
from tests.pages import PAGES, PYTHON, ROOT, SHOWN, TYPED, Command, blocks, commands, mentions

COMPOSE = ROOT / "deploy/containers/compose.yaml"
LINK = re.compile(r"\]\(([^)\s]+)\)")


class Read(Exception):
    """A parser has taken its arguments."""


def run(command):
    """The exit status of a program and its arguments, as `python -m` would end."""
    program, *words = command if isinstance(command, list) else command.split()
    module = program if not util.find_spec(program).submodule_search_locations else f"{program}.__main__"
    return import_module(module).main(words)


@pytest.fixture
def parsers(monkeypatch):
    """Programs stop once their own parser has taken the arguments."""
    parse = argparse.ArgumentParser.parse_args

    def read(self, arguments=None, namespace=None):
        parse(self, arguments, namespace)
        raise Read

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", read)


def understood(words: list[str], capsys, monkeypatch) -> None:
    """Have a program's parser take its arguments.

    Programs differ in whether `main` takes them, so they are given as the process's own.
    """
    program, *arguments = words
    module = program if not util.find_spec(program).submodule_search_locations else f"{program}.__main__"
    monkeypatch.setattr("sys.argv", [program, *arguments])
    try:
        with pytest.raises(Read):
            import_module(module).main()
    except SystemExit:
        pytest.fail(f"python -m {' '.join(words)}: {capsys.readouterr().err}")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Another folder to work in than the project's."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of(*hows: str) -> list[Command]:
    return [command for command in commands() if command.how in hows]


class TestRules:
    def test_each_block_says_what_it_is(self):
        assert not [str(block) for block in blocks() if block.language not in (*SHOWN, *TYPED)]

    def test_each_command_has_one(self):
        assert {command.how for command in commands()} == {"run", "start", "read", "dry", "check"}

    @pytest.mark.parametrize("block", [*blocks("json"), *blocks("toml")], ids=str)
    def test_data_can_be_read(self, block):
        assert json.loads(block.text) if block.language == "json" else tomllib.loads(block.text)


class TestArguments:
    @pytest.mark.parametrize("command", of("start", "read"), ids=str)
    def test_are_taken(self, command, parsers, capsys, monkeypatch):
        understood(command.words[2:], capsys, monkeypatch)

    @pytest.mark.parametrize("command", of("dry"), ids=str)
    def test_of_what_make_would_run(self, command, parsers, capsys, monkeypatch):
        done = subprocess.run(
            [command.words[0], "--dry-run", *command.words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        for line in re.findall(rf"^{re.escape(PYTHON)} -m (.*)", done.stdout.replace("\\\n", " "), re.MULTILINE):
            understood(line.split(), capsys, monkeypatch)

    def test_a_wrong_flag_is_found(self, parsers, capsys, monkeypatch):
        with pytest.raises(pytest.fail.Exception, match="--presets"):
            understood(["build", "--presets", "full"], capsys, monkeypatch)

    @pytest.mark.parametrize(("page", "mention"), mentions(), ids=str)
    def test_of_programs_in_running_text(self, page, mention, capsys, monkeypatch):
        """A mention may leave arguments out; sub-commands and flags that it names exist."""
        program, *words = mention.split()
        module = program if not util.find_spec(program).submodule_search_locations else f"{program}.__main__"
        monkeypatch.setattr("sys.argv", [program, *words, "--help"])
        with pytest.raises(SystemExit) as ended:
            import_module(module).main()
        said = capsys.readouterr()
        assert ended.value.code == 0, said.err
        assert all(word in said.out for word in words if word.startswith("--"))


class TestWhatIsNamed:
    @pytest.mark.parametrize("command", of("check"), ids=str)
    def test_exists(self, command):
        words = command.words
        if words[0] == ".venv/bin/pip":
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            assert re.search(r"\[(\w+)\]$", words[-1])[1] in extras
        elif command.program == "locust":
            given = {word for word in words[3:] if word.startswith("--")}
            own = (ROOT / words[words.index("-f") + 1]).read_text()
            theirs = subprocess.check_output([sys.executable, "-m", "locust", "--help"], text=True)
            assert all(flag in theirs or f'"{flag}"' in own for flag in given)
        elif words[1] == "compose":
            assert ROOT / words[words.index("-f") + 1] == COMPOSE
            assert words[-1] in yaml.safe_load(COMPOSE.read_text())["services"]
        else:
            tag = re.search(r"SHELFBRIDGE_NVIDIA_TAG=(\S+)", (COMPOSE.parent / ".env").read_text())[1]
            assert f"nvcr.io/nvidia/tritonserver:{tag}" in words or any(f":{tag}-" in word for word in words)

    def test_tensors_are_those_of_the_contract(self):
        page = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
        printed = set(re.findall(r"`(\w+)` \| ([A-Z]+\d*) \|", page))
        asked = ("search", "search_deep", "search_personal", "recommend", "events", "privacy")
        tensors = {one for name in asked for one in (*MODELS[name].inputs, *MODELS[name].outputs)}
        assert printed == {(one.name, one.dtype.replace("STRING", "BYTES")) for one in tensors}

    def test_gauges_are_those_of_the_server(self):
        page = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
        assert set(re.findall(r"`(shelfbridge_\w+)`", page)) == {gauge.name for gauge in Gauge.ALL}

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_links_lead_somewhere(self, page):
        """Files, and headings of pages as GitHub names them."""
        for link in _links(page):
            file, _, anchor = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            assert target.exists(), link
            assert not anchor or anchor in _anchors(target), link


def _links(page: Path) -> Iterator[str]:
    yield from (link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link)


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


class TestWhereNothingRuns:
    @pytest.fixture(autouse=True)
    def no_settings(self, monkeypatch):
        """None of this project's settings."""
        for name in [name for name in os.environ if name.startswith("SHELFBRIDGE_")]:
            monkeypatch.delenv(name)

    @pytest.fixture
    def topology(self, tmp_path, monkeypatch):
        """The example, its folders moved to where nobody else is."""
        file = tmp_path / "topology.toml"
        file.write_text((ROOT / EXAMPLE).read_text().replace('"out/', f'"{tmp_path}/out/'))
        monkeypatch.setenv("SHELFBRIDGE_TOPOLOGY", str(file))

    def test_status(self, topology, capsys):
        assert run("deploy.hybrid status") == UNAVAILABLE
        assert "private: not ready\npublic: not ready\ngateway 127.0.0.1:8443: not ready\n" in capsys.readouterr().out

    def test_down(self, topology, capsys):
        assert run("deploy.hybrid down") == OK
        assert capsys.readouterr().out == "Nothing was running.\n"

    def test_up_says_what_is_missing(self, topology, capsys):
        assert run("deploy.hybrid up") == BAD_INPUT
        said = capsys.readouterr().err
        assert re.match(r"error: missing: .*audit\.key; make them with python -m deploy\.security", said)

    def test_no_topology(self, capsys):
        assert run("deploy.hybrid status --topology none.toml") == BAD_INPUT
        said = capsys.readouterr().err
        assert said.startswith("error: none.toml: No such file or directory; give --topology a file, such as")

    def test_the_example_means_the_same_in_any_folder(self, monkeypatch):
        elsewhere = load(HybridSettings().topology)
        monkeypatch.chdir(ROOT)
        assert load(HybridSettings().topology) == elsewhere
        assert elsewhere.run_dir == ROOT / "out/hybrid"
        assert elsewhere.private.release == ROOT / "out/releases/current"
        assert elsewhere.security.jwks == ROOT / "out/security/jwks.json"

    def test_verify_without_a_key(self, tmp_path, capsys):
        key = tmp_path / "audit.key"
        assert run(f"deploy.audit verify --key {key}") == BAD_INPUT
        said = capsys.readouterr().err
        assert said.startswith(f"error: {key}: No such file or directory; name a key file (python -m deploy.security")

    def test_verify_without_a_log(self, tmp_path, capsys):
        """Whoever removes the whole log has altered it too."""
        key, log = tmp_path / "audit.key", tmp_path / "audit"
        key.write_bytes(make_keys()["audit.key"])
        key.chmod(0o600)
        assert run(f"deploy.audit verify --folder {log} --key {key}") == FAILED
        assert capsys.readouterr().err.startswith(f"error: {log}: no audit log; ")

    def test_verify_looks_where_the_example_has_its_log(self):
        example, default = load(EXAMPLE).audit, AuditSettings()
        assert (default.folder, default.key) == (example.folder, example.key)
