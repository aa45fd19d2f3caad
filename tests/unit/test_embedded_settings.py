"""What is set about an embedded server means the same in every folder: its keeper works in another one."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy import ROOT
from deploy.embedded import EmbeddedServer, EmbeddedSettings
from deploy.hybrid.sites import SiteServer
from deploy.hybrid.topology import EXAMPLE, load
from shelfbridge.profiles.store import anchored
from shelfbridge.program import add_settings, command_line, settings_of


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
