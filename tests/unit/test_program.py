"""What a program says where the machine's files fail it: the cause and the cure, in one line, and never a traceback."""

import errno

import pytest

from shelfbridge.errors import DataError
from shelfbridge.program import BAD_INPUT, FAILED, ended, ending, explained

FULL = OSError(errno.ENOSPC, "No space left on device", "out/releases/3")


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "No space left on device; free some space there"),
        (errno.EACCES, "Permission denied; give the user"),
        (errno.EROFS, "Read-only file system; nothing can be written there"),
        (errno.ENOENT, "No such file or directory; see to it"),
    ],
)
def test_an_error_of_a_file_names_it_with_the_cure(number, cure):
    assert explained(OSError(number, "", "out/x")).startswith(f"out/x: {cure}")


def fail(error: BaseException) -> int:
    raise error


def test_a_program_that_ends_by_a_full_disk_says_so(capsys):
    assert ended(lambda: fail(FULL)) == FAILED
    assert capsys.readouterr().err.startswith("error: out/releases/3: No space left on device")
    assert ended(lambda: fail(DataError("no row"))) == BAD_INPUT


def test_so_does_one_that_goes_on_where_it_ended():
    with pytest.raises(SystemExit, match=r"error: out/releases/3: No space.*; the same command goes on"), ending(""):
        fail(FULL)
    with pytest.raises(SystemExit, match=r"^stopped; status says more$"), ending("status says more"):
        fail(KeyboardInterrupt())


def test_what_has_no_number_is_no_error_of_a_file():
    with pytest.raises(OSError, match="of a library"), ending(""):
        fail(OSError("of a library"))
