"""How a command line ends: with a status and one line that names the cause and the cure, whatever went wrong."""

import errno
import os
import subprocess
import sys

import pytest

from deploy.embedded.__main__ import main as embedded
from shelfbridge.errors import PrerequisiteError, SettingsError
from shelfbridge.program import BAD_INPUT, FAILED, INTERRUPTED, OK, ended, ending


def failing(error: BaseException):
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (PrerequisiteError("no disk; buy one"), FAILED, "error: no disk; buy one"),
        (SettingsError("k is 0; set it"), BAD_INPUT, "error: k is 0; set it"),
        (OSError(errno.ENOSPC, "No space left on device", "/shop/x"), FAILED, "/shop/x: No space left on device; make"),
        (
            PermissionError(errno.EACCES, "Permission denied", b"/shop/x"),
            FAILED,
            "/shop/x: Permission denied; let this",
        ),
        (OSError(errno.EACCES, "Permission denied", "/a", None, "/b"), FAILED, "/a to /b: Permission denied; let this"),
        (OSError(errno.EROFS, "Read-only file system", "/shop"), FAILED, "name a place that can be written"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), FAILED, "Connection refused; see that"),
        (OSError("it broke"), FAILED, "error: it broke; see that the disk"),
        (TimeoutError(), FAILED, "error: TimeoutError; see that the disk"),
        (KeyboardInterrupt(), INTERRUPTED, "stopped"),
    ],
)
def test_what_goes_wrong_is_one_line(capsys, error, status, words):
    assert ended(failing(error)) == status
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_an_error_of_ours_is_shown(capsys):
    with pytest.raises(ZeroDivisionError):
        ended(failing(ZeroDivisionError()))


def test_a_reader_that_goes_is_no_fault():
    code = "import sys; from shelfbridge.program import ended; sys.exit(ended(lambda: print('x' * 100_000) or 0))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.read(1)
        program.stdout.close()
        assert program.stderr.read() == b""
    assert program.returncode == FAILED


def test_a_run_folder_that_cannot_be_one(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file/run"):
        assert embedded(["up", f"--run-dir={folder}"]) == FAILED
        assert str(folder) in (said := capsys.readouterr().err)
        assert "name another place" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_folder_that_may_not_be_written(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert embedded(["up", f"--run-dir={tmp_path}/run"]) == FAILED
    assert "let this user read and write there" in capsys.readouterr().err


def test_a_state_that_cannot_be_read(tmp_path, capsys):
    (tmp_path / "state.json").mkdir()
    assert embedded(["status", f"--run-dir={tmp_path}"]) == FAILED
    assert "state.json: Is a directory" in capsys.readouterr().err


def test_work_that_is_done():
    assert ended(lambda: OK) == OK


def test_a_program_that_goes_on_where_it_ended_says_so():
    full = OSError(errno.ENOSPC, "", "out/releases/3")
    with pytest.raises(SystemExit, match=r"error: out/releases/3: No space.*; the same command goes on"), ending(""):
        raise full
    with pytest.raises(SystemExit, match=r"^stopped; status says more$"), ending("status says more"):
        raise KeyboardInterrupt


def test_what_a_library_raises_without_a_number_is_shown():
    with pytest.raises(OSError, match="of a library"), ending(""):
        raise OSError("of a library")
