"""The collector adds one line for each of the gateway's, whatever happens to it, and nothing personal."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.audit.__main__ import main
from deploy.audit.collector import collect, open_source
from deploy.audit.log import HEAD, AuditLog, files, verify
from deploy.audit.record import Record, read, served
from deploy.security.keys import write_new
from shelfbridge.errors import ArtefactError, ShelfbridgeError
from shelfbridge.profiles import Pseudonyms
from tests.unit.audit_lines import CHAIN, gateway_line, write_log

NAMES = Pseudonyms(b"p" * 32)


@pytest.fixture
def gateway(tmp_path: Path) -> Path:
    return tmp_path / "gateway" / "audit.jsonl"


@pytest.fixture
def more(tmp_path: Path, gateway: Path) -> Callable[..., list[dict[str, Any]]]:
    """Let the gateway write lines, a collector start and end, and return what the log then holds."""
    gateway.parent.mkdir()

    def run(*lines: bytes) -> list[dict[str, Any]]:
        with gateway.open("ab") as file:
            file.writelines(lines)
        with (
            AuditLog(tmp_path / "log", CHAIN, max_bytes=2000) as log,
            closing(open_source(gateway, log, follow=False)) as source,
        ):
            collect(source, log, NAMES)
        return kept(tmp_path / "log")

    return run


def kept(folder: Path) -> list[dict[str, Any]]:
    verify(folder, CHAIN)
    return [json.loads(line) for file in files(folder) for line in file.read_bytes().splitlines()]


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    return [int(row["request_id"].replace("-", ""), 16) for row in rows]


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestRecord:
    def test_keeps_what_is_foreseen_and_the_subject_as_pseudonym(self) -> None:
        record = read(gateway_line(3, flags="UF,URX", attempts=4), NAMES)
        assert record.subject == NAMES.of("shop-frontend")
        assert (record.model, record.site, record.status, record.latency_ms) == ("search", "private", "OK", 12)
        assert record.flags == "UF,URX"

    @pytest.mark.parametrize(
        ("given", "kept"), [("a" * 32, True), (str(uuid.UUID(int=7)), True), ("alice-2026", False), ("a" * 33, False)]
    )
    def test_keeps_request_ids_that_say_nothing(self, given: str, kept: bool) -> None:
        assert read(gateway_line(request_id=given), NAMES).request_id == (given if kept else None)

    @settings(deadline=None)
    @given(
        field=st.sampled_from([*sorted(Record.model_fields), "query", "user", "authorization"]),
        secret=st.sampled_from(
            ["red shoes for alice", "alice@example.com", ["alice"], {"alice": "alice"}, "/alice/Buy"]
        ),
    )
    def test_keeps_no_other_form_of_value(self, field: str, secret: Any) -> None:
        text = read(gateway_line(**{field: secret}), NAMES).model_dump_json()
        words = ("alice",) if field not in ("reason", "details") else ("@", "/alice")
        assert not [word for word in words if word in text]

    @pytest.mark.parametrize(
        ("fields", "site"),
        [
            ({}, "private"),
            ({"site": "public", "attempts": 2}, "public"),
            ({"site": None, "flags": "UH"}, None),
            ({"flags": "UO"}, None),
            ({"flags": "UF"}, None),
            ({"flags": "UT"}, "private"),
            ({"flags": "URX,UF", "attempts": 4}, "private"),
            ({"site": "any"}, None),
        ],
    )
    def test_names_the_site_that_was_reached_or_none(self, fields: dict[str, Any], site: str | None) -> None:
        assert read(gateway_line(**fields), NAMES).site == site

    @pytest.mark.parametrize(
        ("fields", "version"),
        [
            ({}, "6"),
            ({"version": "4"}, "4"),
            ({"site": "public"}, "7"),
            ({"site": None}, None),
            ({"flags": "UF"}, None),
            ({"model": "alice"}, None),
        ],
    )
    def test_names_the_version_that_was_asked_for_or_that_the_site_has(
        self, tmp_path: Path, fields: dict[str, Any], version: str | None
    ) -> None:
        for release, versions in (("6", ("5", "6")), ("7", ("7", "configs"))):
            for each in versions:
                (tmp_path / release / "search" / each).mkdir(parents=True)
        versions = {"private": served(tmp_path / "6"), "public": served(tmp_path / "7")}
        assert read(gateway_line(**fields), NAMES, versions).version == version

    def test_a_folder_without_a_model_has_no_versions(self, tmp_path: Path) -> None:
        with pytest.raises(ArtefactError, match="holds no model; name the folder of the release"):
            served(tmp_path)

    @pytest.mark.parametrize("line", [b"", b"alice", b'{"subject": "alice"', b'["alice"]', b"\xff", b"[" * 100_000])
    def test_says_that_a_line_cannot_be_read_and_not_what_it_is(self, line: bytes) -> None:
        record = read(line, NAMES)
        assert record.decision == "unreadable"
        assert "alice" not in record.model_dump_json()


class TestReadingOn:
    def test_begins_where_the_log_ends(self, more: Any) -> None:
        assert numbers(more(*map(gateway_line, range(5)))) == [*range(5)]
        assert numbers(more()) == [*range(5)]
        assert numbers(more(gateway_line(5))) == [*range(6)]

    def test_waits_for_the_end_of_a_line(self, more: Any) -> None:
        line = gateway_line(1)
        assert numbers(more(gateway_line(0), line[:50])) == [0]
        assert numbers(more(line[50:], gateway_line(2))) == [0, 1, 2]

    def test_goes_through_rotated_files(self, more: Any, gateway: Path) -> None:
        assert numbers(more(gateway_line(0), gateway_line(1))) == [0, 1]
        for first, name in ((2, "audit.jsonl.2"), (4, "audit.jsonl.1")):
            with gateway.open("ab") as file:
                file.writelines([gateway_line(first), gateway_line(first + 1)])
            gateway.rename(gateway.with_name(name))
            time.sleep(0.01)
        assert numbers(more(gateway_line(6))) == [*range(7)]

    @pytest.mark.parametrize("lose", ["delete", "truncate"])
    def test_says_where_lines_were_lost(self, more: Any, gateway: Path, lose: str) -> None:
        assert len(more(gateway_line(0), gateway_line(1))) == 2
        gateway.unlink() if lose == "delete" else os.truncate(gateway, 0)
        rows = more(gateway_line(2))
        assert rows[2]["decision"] == "gap"
        assert numbers([rows[3]]) == [2]
        assert len(more()) == 4

    def test_follows_a_rotation_while_it_runs(self, tmp_path: Path, gateway: Path) -> None:
        gateway.parent.mkdir()
        gateway.write_bytes(gateway_line(0))
        stop = threading.Event()
        with AuditLog(tmp_path / "log", CHAIN, max_bytes=2000) as log:
            source = open_source(gateway, log, follow=True)
            thread = threading.Thread(target=collect, args=(source, log, NAMES, stop.is_set))
            thread.start()
            wait_until(lambda: log.last.number == 1)
            with gateway.open("ab") as old:
                gateway.rename(gateway.with_name("audit.jsonl.1"))
                old.write(gateway_line(1))
            gateway.write_bytes(gateway_line(2))
            wait_until(lambda: log.last.number == 3)
            stop.set()
            thread.join()
            source.close()
        assert numbers(kept(tmp_path / "log")) == [0, 1, 2]

    def test_reads_a_pipe_to_its_end(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")

        def write() -> None:
            with (tmp_path / "pipe").open("wb", buffering=0) as pipe:
                for number in range(500):
                    pipe.write(gateway_line(number)[:-1])
                    pipe.write(b"\n" if number < 499 else b"")

        thread = threading.Thread(target=write)
        thread.start()
        with (
            AuditLog(tmp_path / "log", CHAIN, max_bytes=1 << 20) as log,
            closing(open_source(tmp_path / "pipe", log, follow=True)) as source,
        ):
            collect(source, log, NAMES)
        thread.join()
        assert numbers(kept(tmp_path / "log")) == [*range(500)]


class TestCrash:
    def test_kill_9_loses_nothing_and_doubles_nothing(self, tmp_path: Path, gateway: Path) -> None:
        """Killed again and again while the gateway writes and rotates."""
        gateway.parent.mkdir()
        write_new(tmp_path, {"audit.key": (b"k" * 32).hex().encode(), "names.key": (b"p" * 32).hex().encode()})
        flags = ["--folder", str(tmp_path / "log"), "--key", str(tmp_path / "audit.key"), "--source", str(gateway)]
        flags += ["--pseudonym-key", str(tmp_path / "names.key"), "--max-bytes", "20000"]
        command = [sys.executable, "-m", "deploy.audit", "collect", *flags]
        written, draw = 0, random.Random(0)
        for round_ in range(6):
            collector = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before = log_size(tmp_path / "log")
            for _ in range(30):
                with gateway.open("ab", buffering=0) as file:
                    for _ in range(20):
                        file.write(gateway_line(written))
                        written += 1
                time.sleep(draw.uniform(0, 0.002))
            wait_until(lambda before=before: log_size(tmp_path / "log") > before)
            collector.send_signal(signal.SIGKILL)
            collector.wait()
            if round_ % 2:
                gateway.rename(gateway.with_name(f"audit.jsonl.{round_}"))
        gateway.write_bytes(gateway_line(written))
        assert main(["collect", *flags, "--once"]) == 0
        assert numbers(kept(tmp_path / "log")) == [*range(written + 1)]

    @settings(deadline=None)
    @given(part=st.floats(0, 1))
    def test_whatever_of_a_batch_was_written(self, part: float) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = write_log(Path(name), 3, max_bytes=1 << 20)
            (file,), head = files(folder), (folder / HEAD).read_bytes()
            counted = file.stat().st_size
            with AuditLog(folder, CHAIN, max_bytes=1 << 20) as log:
                log.append([({"request_id": f"{n:08}"}, n) for n in range(3, 6)])
            os.truncate(file, counted + round(part * (file.stat().st_size - counted)))
            (folder / HEAD).write_bytes(head)
            with AuditLog(folder, CHAIN, max_bytes=1 << 20) as log:
                log.append([({"request_id": f"{n:08}"}, n) for n in range(log.source + 1, 7)])
            assert numbers(kept(folder)) == [*range(7)]

    def test_a_torn_line_is_written_anew(self, more: Any, tmp_path: Path) -> None:
        more(gateway_line(0))
        with files(tmp_path / "log")[-1].open("ab") as file:
            file.write(b'{"number":2,"before"')
        assert numbers(more(gateway_line(1))) == [0, 1]

    def test_lines_that_the_head_does_not_count_yet_stay(self, more: Any, tmp_path: Path) -> None:
        more(gateway_line(0))
        head = (tmp_path / "log" / HEAD).read_bytes()
        more(gateway_line(1))
        (tmp_path / "log" / HEAD).write_bytes(head)
        assert numbers(more(gateway_line(2))) == [0, 1, 2]

    @pytest.mark.parametrize("damage", ["cut", "altered", "headless"])
    def test_no_line_is_added_to_a_log_that_was_altered(self, more: Any, tmp_path: Path, damage: str) -> None:
        more(gateway_line(0), gateway_line(1))
        file = files(tmp_path / "log")[-1]
        content = file.read_bytes()
        if damage == "headless":
            (tmp_path / "log" / HEAD).unlink()
        file.write_bytes(
            {"cut": content[: content.index(b"\n") + 1], "altered": content.replace(b'"OK"', b'"KO"')}.get(
                damage, content
            )
        )
        altered = file.read_bytes()
        with pytest.raises(ShelfbridgeError, match=r"verify|copy"):
            more(gateway_line(2))
        assert file.read_bytes() == altered

    def test_one_collector_at_a_time(self, more: Any, tmp_path: Path) -> None:
        with (
            AuditLog(tmp_path / "log", CHAIN, max_bytes=2000),
            pytest.raises(ShelfbridgeError, match="another collector"),
        ):
            more()
        assert more(gateway_line(0))


def log_size(folder: Path) -> int:
    return sum(file.stat().st_size for file in files(folder))


def test_the_program_verifies(more: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more(gateway_line(0), gateway_line(1))
    write_new(tmp_path, {"audit.key": (b"k" * 32).hex().encode()})
    flags = ["verify", "--folder", str(tmp_path / "log"), "--key", str(tmp_path / "audit.key")]
    assert main(flags) == 0
    assert "2 lines" in capsys.readouterr().out
    file = files(tmp_path / "log")[0]
    file.write_bytes(file.read_bytes().replace(b'"OK"', b'"KO"', 1))
    assert main(flags) == 1
    assert f"{file}, line 1: was altered" in capsys.readouterr().err
    (tmp_path / "audit.key").chmod(0o644)
    assert main(flags) == 2
    assert "others may read the key" in capsys.readouterr().err
