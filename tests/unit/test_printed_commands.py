"""What README and docs print of the online programs can be typed as it stands, from any folder."""

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module, util
from pathlib import Path

import pytest

from deploy.audit.settings import AuditSettings
from deploy.hybrid import load
from deploy.hybrid.__main__ import parser
from deploy.hybrid.topology import EXAMPLE, HybridSettings
from deploy.security.new_keys import make_keys
from shelfbridge.program import BAD_INPUT, FAILED, OK, UNAVAILABLE, settings_of
from tests.unit.scripted_server import serve

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
COMMAND = re.compile(r"python -m ((?:clients|deploy\.(?:audit|hybrid|security))\b[^`\n]*)")


def printed() -> list[str]:
    """Commands in the order of their pages, once each; `up|down` stands for two."""
    found: dict[str, None] = {}
    for page in PAGES:
        for match in COMMAND.findall(page.read_text(encoding="utf-8").replace("\\|", "|")):
            program, *words = shlex.split(match.partition("  #")[0])
            first, rest = (words[0].split("|"), words[1:]) if words else ([""], [])
            found |= dict.fromkeys(shlex.join([program, *filter(None, [one]), *rest]) for one in first)
    return list(found)


def run(command):
    """The exit status of a command, as `python -m` would end."""
    program, *words = shlex.split(command)
    module = program if not util.find_spec(program).submodule_search_locations else f"{program}.__main__"
    return import_module(module).main(words)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory, monkeypatch):
    """Another folder to work in, one for all commands, with none of this project's settings but where no server is."""
    folder = tmp_path_factory.getbasetemp() / "elsewhere"
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("SHELFBRIDGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SHELFBRIDGE_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("SHELFBRIDGE_TIMEOUT", "0.2")
    return folder


def test_some_are_printed():
    assert {"deploy.audit verify", "deploy.hybrid up", "clients.profile export u7"} < set(printed())
    assert len(printed()) > 10


@pytest.mark.parametrize("command", printed())
def test_is_understood(elsewhere, command, monkeypatch, capsys):
    """Nothing serves: who needs a server says so, and who needs a file that nobody made."""
    if command.startswith("deploy.hybrid "):  # the example may be up here: what commands do is tested below
        assert load(settings_of(HybridSettings, parser().parse_args(shlex.split(command)[1:])).topology)
        return
    monkeypatch.setenv("SHELFBRIDGE_AUDIT_FOLDER", str(elsewhere / "audit"))
    monkeypatch.setenv("SHELFBRIDGE_AUDIT_KEY", str(elsewhere / "none.key"))
    status, said = run(command), capsys.readouterr()
    assert status == OK or re.match(r"error: .*(?:; |, )\w+", said.err), said.err


def test_the_example_of_python(elsewhere):
    code = re.search(r"```python\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)[1]
    with serve() as server:
        done = subprocess.run(
            [sys.executable, "-c", code.replace("localhost:8001", server.address)],
            cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert len(done.stdout.splitlines()) == 6, done.stderr


class TestWhereNothingRuns:
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
