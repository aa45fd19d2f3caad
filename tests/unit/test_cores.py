"""How many cores a process may use, by what the kernel says of it."""

import os
from pathlib import Path

import pytest

from deploy.cores import cores


@pytest.fixture(autouse=True)
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))


def files(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        file = folder / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_without_a_limit_it_is_the_affinity(tmp_path: Path) -> None:
    assert cores(tmp_path, tmp_path / "none") == 16


@pytest.mark.parametrize(("limit", "found"), [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1)])
def test_a_container_is_limited_by_its_own_cgroup(tmp_path: Path, limit: str, found: int) -> None:
    files(tmp_path, cpu_dot_max=limit)
    assert cores(tmp_path, tmp_path / "none") == found


def test_no_limit_is_none(tmp_path: Path) -> None:
    files(tmp_path, cpu_dot_max="max 100000")
    assert cores(tmp_path, tmp_path / "none") == 16


def test_a_limit_further_out_counts_too(tmp_path: Path) -> None:
    files(
        tmp_path,
        own="0::/system.slice/shop.service\n",
        system_dot_slice__cpu_dot_max="300000 100000",
        system_dot_slice__shop_dot_service__cpu_dot_max="800000 100000",
    )
    assert cores(tmp_path, tmp_path / "own") == 3


def test_the_first_version_of_cgroups(tmp_path: Path) -> None:
    files(
        tmp_path,
        own="4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n",
        cpu__docker__abc__cpu_dot_cfs_quota_us="400000",
        cpu__docker__abc__cpu_dot_cfs_period_us="100000",
    )
    assert cores(tmp_path, tmp_path / "own") == 4
    files(tmp_path, cpu__docker__abc__cpu_dot_cfs_quota_us="-1")
    assert cores(tmp_path, tmp_path / "own") == 16


def test_affinity_below_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    files(tmp_path, cpu_dot_max="200000 100000")
    assert cores(tmp_path, tmp_path / "none") == 1
