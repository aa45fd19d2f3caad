"""The config is what the settings say, readable, and accepted by Envoy; what cannot be used is refused by name."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from deploy.embedded import ServerError
from deploy.gateway import Gateway, GatewayError
from deploy.gateway.config import config
from deploy.gateway.settings import Policies
from deploy.hybrid import Hybrid, Topology, load
from deploy.hybrid.__main__ import main
from deploy.hybrid.sites import SiteServer
from shelfbridge.errors import SettingsError

EXAMPLE = Path(__file__).parents[2] / "deploy/topologies/example.toml"


def test_accepted_by_envoy(topology: Topology, tmp_path: Path) -> None:
    settings = Hybrid(topology).gateway.settings.model_copy(update={"run_dir": tmp_path})
    Gateway(settings).validate()
    text = (tmp_path / "envoy.yaml").read_text()
    assert yaml.safe_load(text)["static_resources"]["listeners"][0]["name"] == "ingress"
    assert "# a frozen site costs this once" in text


def test_refused_by_envoy(topology: Topology, tmp_path: Path) -> None:
    settings = Hybrid(topology).gateway.settings
    security = settings.security.model_copy(update={"jwks": tmp_path / "none.json"})
    with pytest.raises(GatewayError, match=r"none\.json"):
        Gateway(settings.model_copy(update={"run_dir": tmp_path, "security": security})).validate()


def test_settings_are_in_the_config(topology: Topology) -> None:
    settings = Hybrid(topology).gateway.settings
    changed = settings.model_copy(update={"policies": settings.policies.model_copy(update={"burst_above": 77})})
    clusters = {each["name"]: each for each in yaml.safe_load(config(changed))["static_resources"]["clusters"]}
    assert clusters["private"]["circuit_breakers"]["thresholds"][0]["max_requests"] == 77
    assert clusters["any"]["cluster_type"]["typed_config"]["clusters"] == ["private_gate", "public"]


@pytest.mark.parametrize("value", ['x", y: "z', "x\ny: z", "{{ 7 * 7 }} # <&>", "é\u2028\N{CROSS MARK}\x85"])
def test_a_value_is_one_value_whatever_it_holds(topology: Topology, value: str) -> None:
    settings = Hybrid(topology).gateway.settings
    changed = settings.model_copy(update={"private": settings.private.model_copy(update={"server_name": value})})
    before, after = (yaml.safe_load(config(each))["static_resources"]["clusters"][1] for each in (settings, changed))
    assert after["transport_socket"]["typed_config"].pop("sni") == value
    assert before.keys() == after.keys()
    names = after["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]
    assert names["match_typed_subject_alt_names"] == [{"san_type": "DNS", "matcher": {"exact": value}}]


def test_example_can_be_read() -> None:
    assert load(EXAMPLE).policies.burst_above > 0


@pytest.mark.parametrize(
    ("line", "named"),
    [("capacity = 64", "private.capacity"), ("rtt_ms = 20", "wan.rtt_ms"), ("port = 8443", "gateway.port")],
)
def test_a_bad_value_is_named(tmp_path: Path, line: str, named: str) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(EXAMPLE.read_text().replace(line, f"{line.partition('=')[0]}= -1", 1))
    with pytest.raises(SettingsError, match=named):
        load(file)


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(EXAMPLE.read_text().replace("burst_above", "burst_over"))
    with pytest.raises(SettingsError, match=r"policies\.burst_over"):
        load(file)


def test_missing_certificates_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(EXAMPLE.read_text().replace("out/", f"{tmp_path}/"))
    assert main(["up", "--topology", str(file)]) == 2
    assert "gateway.key" in capsys.readouterr().err


def test_status_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(EXAMPLE.read_text().replace("out/", f"{tmp_path}/"))
    assert main(["status", "--topology", str(file)]) == 3
    assert "WAN: RTT 20" in capsys.readouterr().out


def test_a_site_refuses_an_unsigned_release(topology: Topology, secrets: Path, tmp_path: Path) -> None:
    site = topology.public.model_copy(
        update={"release_key": secrets / "release.pub", "port": topology.public.port + 60}
    )
    server = SiteServer("public", topology.model_copy(update={"public": site, "run_dir": tmp_path}))
    with pytest.raises(ServerError, match="manifest"):
        server.finish(server.start())


@pytest.mark.parametrize("seconds", [0.001, 0.0010123, 86_400])
def test_times_at_the_bounds_are_accepted_by_envoy(topology: Topology, tmp_path: Path, seconds: float) -> None:
    settings = Hybrid(topology).gateway.settings
    policies = Policies(**dict.fromkeys(("deadline", "eject_seconds", "per_try_timeout", "health_interval"), seconds))
    Gateway(settings.model_copy(update={"policies": policies, "run_dir": tmp_path})).validate()


@pytest.mark.parametrize("seconds", [0, -1, 1e-7, 1e7, float("inf"), float("nan")])
def test_times_that_no_gateway_can_keep(seconds: float) -> None:
    with pytest.raises(ValidationError, match="deadline"):
        Policies(deadline=seconds)


def test_what_envoy_says_is_not_the_whole_config(topology: Topology, tmp_path: Path) -> None:
    settings = Hybrid(topology).gateway.settings
    policies = settings.policies.model_copy(update={"deadline": 1e6})
    with pytest.raises(GatewayError, match=r"duration.*mend the settings") as refused:
        Gateway(settings.model_copy(update={"run_dir": tmp_path, "policies": policies})).validate()
    assert len(str(refused.value)) < 1500
