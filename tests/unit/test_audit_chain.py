"""Whoever alters an audit log without its key is found, and the message says where."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.audit.chain import BrokenChain, Chain
from deploy.audit.log import HEAD, AuditLog, files, verify
from tests.unit.audit_lines import CHAIN, write_log

LINES = 20


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("audit") / "log", LINES)


@contextmanager
def copied(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield shutil.copytree(folder, Path(name) / "log")


def placed(folder: Path) -> list[tuple[Path, int, bytes]]:
    """Every line with its file and place there."""
    return [(f, n, raw) for f in files(folder) for n, raw in enumerate(f.read_bytes().splitlines(True), 1)]


def put(folder: Path, rows: list[tuple[Path, int, bytes]]) -> None:
    """Write lines back into the files that they name."""
    for file in files(folder):
        file.write_bytes(b"".join(raw for path, _, raw in rows if path.name == file.name))


def broken(folder: Path) -> tuple[str, int]:
    """File and line that the verification names."""
    with pytest.raises(BrokenChain) as caught:
        verify(folder, CHAIN)
    match = re.search(r"(audit-\d+\.jsonl), line (\d+):", str(caught.value))
    assert match, str(caught.value)
    return match[1], int(match[2])


def test_what_was_written_is_whole_over_several_files(genuine: Path) -> None:
    assert len(files(genuine)) > 3
    assert verify(genuine, CHAIN) == LINES


def test_a_file_begins_with_the_seal_that_the_one_before_ends_with(genuine: Path) -> None:
    for earlier, later in zip(files(genuine), files(genuine)[1:], strict=False):
        seal = earlier.read_bytes().splitlines()[-1][-66:-2].decode()
        assert f'"before":"{seal}"' in later.read_text().splitlines()[0]


@settings(deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_found_in_its_line(genuine: Path, data: st.DataObject) -> None:
    with copied(genuine) as folder:
        rows = placed(folder)
        number = data.draw(st.integers(0, LINES - 1))
        file, place, raw = rows[number]
        at = data.draw(st.integers(0, len(raw) - 1))
        value = data.draw(st.integers(0, 255).filter(lambda byte: byte != raw[at]))
        rows[number] = (file, place, raw[:at] + bytes([value]) + raw[at + 1 :])
        put(folder, rows)
        assert broken(folder) == (file.name, place)


@settings(deadline=None)
@given(at=st.floats(0, 1), added=st.binary(min_size=1, max_size=5))
def test_any_added_bytes_are_found(genuine: Path, at: float, added: bytes) -> None:
    with copied(genuine) as folder:
        file = files(folder)[1]
        content = file.read_bytes()
        cut = int(at * len(content))
        file.write_bytes(content[:cut] + added + content[cut:])
        assert broken(folder)[0] == file.name


@settings(deadline=None)
@given(number=st.integers(0, LINES - 2), more=st.integers(1, 3))
def test_missing_lines_are_found_where_they_were(genuine: Path, number: int, more: int) -> None:
    with copied(genuine) as folder:
        rows = placed(folder)
        more = min(more, LINES - 1 - number)
        put(folder, [row for place, row in enumerate(rows) if not number <= place < number + more])
        after = next(row for row in placed(folder) if row[2] == rows[number + more][2])
        assert broken(folder) == (after[0].name, after[1])


@settings(deadline=None)
@given(pair=st.lists(st.integers(0, LINES - 1), min_size=2, max_size=2, unique=True))
def test_swapped_lines_are_found_at_the_first(genuine: Path, pair: list[int]) -> None:
    with copied(genuine) as folder:
        rows = placed(folder)
        one, two = sorted(pair)
        (file, place, raw), (other, there, text) = rows[one], rows[two]
        rows[one], rows[two] = (file, place, text), (other, there, raw)
        put(folder, rows)
        assert broken(folder) == (file.name, place)


@settings(deadline=None)
@given(number=st.integers(0, LINES - 1), to=st.integers(0, LINES))
def test_a_line_that_stands_twice_is_found(genuine: Path, number: int, to: int) -> None:
    with copied(genuine) as folder:
        rows = placed(folder)
        home = rows[min(to, LINES - 1)][0]
        put(folder, [*rows[:to], (home, 0, rows[number][2]), *rows[to:]])
        assert broken(folder)


@settings(deadline=None)
@given(keep=st.floats(0, 0.9999))
def test_any_cut_tail_is_found(genuine: Path, keep: float) -> None:
    with copied(genuine) as folder:
        sizes = [file.stat().st_size for file in files(folder)]
        left = int(keep * sum(sizes))
        for file, size in zip(files(folder), sizes, strict=True):
            kept = max(0, min(size, left))
            left -= size
            if kept:
                file.write_bytes(file.read_bytes()[:kept])
            else:
                file.unlink()
        with pytest.raises(BrokenChain, match=r"is cut|is missing at the end"):
            verify(folder, CHAIN)


@pytest.mark.parametrize("number", [0, 1, -1])
def test_a_missing_file_is_found(genuine: Path, number: int) -> None:
    with copied(genuine) as folder:
        files(folder)[number].unlink()
        with pytest.raises(BrokenChain, match="is missing"):
            verify(folder, CHAIN)


def test_swapped_files_are_found(genuine: Path) -> None:
    with copied(genuine) as folder:
        one, two = files(folder)[1:3]
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
        assert broken(folder) == (one.name, 1)


def test_a_head_that_is_missing_or_altered_is_found(genuine: Path) -> None:
    with copied(genuine) as folder:
        head = folder / HEAD
        head.write_bytes(head.read_bytes().replace(b'"number":20', b'"number":19'))
        with pytest.raises(BrokenChain, match=HEAD):
            verify(folder, CHAIN)
        head.unlink()
        with pytest.raises(BrokenChain, match=HEAD):
            verify(folder, CHAIN)


def test_a_line_cannot_serve_as_head(genuine: Path) -> None:
    with copied(genuine) as folder:
        (folder / HEAD).write_bytes(placed(folder)[4][2])
        with pytest.raises(BrokenChain, match=HEAD):
            verify(folder, CHAIN)


def test_another_key_makes_no_chain(genuine: Path) -> None:
    with pytest.raises(BrokenChain, match="another key"):
        verify(genuine, Chain(b"x" * 32))


def test_an_older_log_with_its_own_head_is_found_by_a_later_head_alone(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", 5)
    older = shutil.copytree(folder, tmp_path / "older")
    write_log(folder, 4)
    kept = Path(shutil.copy(folder / HEAD, tmp_path / "kept.json"))
    assert verify(older, CHAIN) == 5
    with pytest.raises(BrokenChain, match=r"kept\.json counts 9"):
        verify(older, CHAIN, head=kept)
    assert verify(folder, CHAIN, head=kept) == 9
    write_log(folder, 4)
    assert verify(folder, CHAIN, head=kept) == 13


def test_a_log_written_anew_is_not_that_of_a_kept_head(tmp_path: Path) -> None:
    kept = write_log(tmp_path / "log", 5) / HEAD
    other = tmp_path / "other"
    with AuditLog(other, CHAIN, max_bytes=1000) as log:
        log.append([({"request_id": "another"}, n) for n in range(9)])
    with pytest.raises(BrokenChain, match="line 5: is not the line"):
        verify(other, CHAIN, head=kept)


def test_a_line_of_another_log_of_the_same_key_is_found(genuine: Path, tmp_path: Path) -> None:
    with AuditLog(tmp_path, CHAIN, max_bytes=1 << 20) as log:
        log.append([({"request_id": "another"}, n) for n in range(LINES)])
    with copied(genuine) as folder:
        rows = placed(folder)
        file, place, _ = rows[7]
        rows[7] = (file, place, placed(tmp_path)[7][2])
        put(folder, rows)
        assert broken(folder) == (file.name, place)


def test_files_that_are_no_longer_kept_are_named(genuine: Path) -> None:
    with copied(genuine) as folder:
        gone, first, *_ = files(folder)
        held = LINES - len(gone.read_bytes().splitlines())
        gone.unlink()
        assert verify(folder, CHAIN, first=first.name) == held
        with pytest.raises(BrokenChain, match=f"{gone.name}: is missing"):
            verify(folder, CHAIN, first=gone.name)
        files(folder)[1].unlink()
        with pytest.raises(BrokenChain, match="is missing or was moved"):
            verify(folder, CHAIN, first=first.name)
