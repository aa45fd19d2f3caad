"""The secret scan of `make security`, over this project's sources and over what it must find."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASELINE = "deploy/security/secrets.baseline"


def scan(folder: Path, *files: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "detect-secrets-hook"), "--baseline", BASELINE, *files]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / BASELINE).parent.mkdir(parents=True)
    shutil.copy(ROOT / BASELINE, tmp_path / BASELINE)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    ["-----BEGIN " + "PRIVATE KEY-----", "key = 'AKIA" + "Z7Q3XJ5M2K9T4W8B'", "password = " + "'correct-horse'"],
)
def test_a_secret_is_found(project: Path, text: str) -> None:
    (project / "settings.py").write_text(text + "\n")
    found = scan(project, "settings.py")
    assert found.returncode == 1
    assert "settings.py" in found.stdout


def test_sources_without_one_pass(project: Path) -> None:
    shutil.copy(ROOT / "deploy/security/tokens.py", project / "tokens.py")
    assert scan(project, "tokens.py").returncode == 0
