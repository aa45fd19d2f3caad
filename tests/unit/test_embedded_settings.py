"""Settings of servers mean the same in every folder, as a keeper works in another one; the unusable is told at once."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from clients.events import main as events
from deploy import ROOT
from deploy.consumer import main as consumer
from deploy.embedded import EmbeddedServer, EmbeddedSettings
from deploy.embedded.__main__ import main
from deploy.hybrid.sites import SiteServer
from deploy.hybrid.topology import EXAMPLE, load
from shelfbridge.profiles.store import anchored
from shelfbridge.program import BAD_INPUT, FAILED, add_settings, command_line, settings_of


def test_relative_paths_are_those_of_the_caller(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = {"repository": "shop/current", "run_dir": "run", "release_key": "release.pub", "key_file": "users.key"}
    settings = EmbeddedSettings(**paths, triton="triton", profiles="sqlite:///data/profiles.sqlite")
    server = EmbeddedServer(settings)
    monkeypatch.chdir(ROOT)
    parser = command_line("again", "")
    add_settings(parser, EmbeddedSettings)
    again = settings_of(EmbeddedSettings, parser.parse_args(settings.flags()))
    assert {name: getattr(again, name) for name in paths} == {name: tmp_path / path for name, path in paths.items()}
    assert (
        settings.environment()["SHELFBRIDGE_PROFILES"] == settings.store == f"sqlite:///{tmp_path}/data/profiles.sqlite"
    )
    assert server.log_file == tmp_path / "run/server.log"
    assert settings.triton == tmp_path / "triton"


def test_what_current_names_is_not_looked_up_yet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("current").symlink_to("3")
    assert EmbeddedSettings(repository="current").repository == tmp_path / "current"


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("sqlite:///a/b.db", "sqlite:////shop/a/b.db"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("redis://u:p@host:1/0", "redis://u:p@host:1/0"),
        ("sqlite:///", "sqlite:///"),
        ("", ""),
    ],
)
def test_addresses_of_stores_in_a_folder(uri, found):
    assert anchored(uri, Path("/shop")) == found


def test_a_topologys_store_is_in_the_projects_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = load(EXAMPLE)
    private = example.private.model_copy(update={"profiles": SecretStr("sqlite:///out/p.db")})
    site = SiteServer("private", example.model_copy(update={"private": private}))
    assert site.settings.store == f"sqlite:///{ROOT}/out/p.db"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--profiles=mysql://shop"], "mysql: no kind of store; use sqlite"),
        (["--profiles=redis://"], "the address of Redis cannot be read"),
        (["--key-file={folder}"], "Is a directory; name a key file"),
        (["--key-file={folder}/empty.key"], "of key; it should be 32"),
        (["--http-port=7001", "--grpc-port=7001"], "Port 7001 cannot be that of grpc and http at once"),
        (["--result-cache=inf"], "result_cache: Input should be a finite number"),
    ],
)
def test_what_no_server_could_use_is_told_before_it_starts(tmp_path, capsys, given, words):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.pbtxt").write_text("")
    (tmp_path / "empty.key").touch(0o600)
    flags = [flag.format(folder=tmp_path) for flag in given]
    assert main(["up", f"--run-dir={tmp_path}/run", f"--repository={tmp_path}", *flags]) in (FAILED, BAD_INPUT)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--take-over=nan", "--take-over=0", "--status-every=-1"])
def test_times_that_no_consumer_can_keep(capsys, flag):
    assert consumer(["--profiles=redis://127.0.0.1:1", flag]) == BAD_INPUT
    assert "error: settings: " in capsys.readouterr().err


def test_brackets_without_end_are_no_event(tmp_path, capsys):
    (tmp_path / "events.jsonl").write_text("[" * 100_000)
    assert events([str(tmp_path / "events.jsonl"), "--address=127.0.0.1:1"]) == BAD_INPUT
    assert "line 1: not a JSON object; nothing was sent" in capsys.readouterr().err
