"""What depends on the time, run again on other days and in other time zones, with the real servers.

`libfaketime` moves the clock of every process that a run starts: pytest, Triton and its steps, Redis, consumers.
Debian's faketime 0.9.10 will not do: with it Python's waits never end, or its sleeps fail. Envoy does not start under
either, so what needs the gateway is not here.
"""

import datetime
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = (
    *("test_profiles_access", "test_profiles_events", "test_profiles_kept", "test_profiles_privacy"),
    *("test_profiles_redis", "test_profiles_sqlite", "test_profiles_stores"),
    *("test_shelf_edges", "test_shelf_fill", "test_shelf_products", "test_recommend_signals", "test_recommend_split"),
    *("test_recommend_interactions", "test_sample_shoppers", "test_bench_shelf", "test_shopper_programs"),
    *("test_client_shopper", "test_audit_chain", "test_audit_collector", "test_signing"),
    *("test_security_archive", "test_security_certificates"),
)
FUNCTIONAL = ("test_recommend", "test_personal", "test_events", "test_privacy")
FORKS = "writers_at_once"
"""A test that forks a process with threads: the library's locks do not survive that."""
MINUTES = 20


def leap_day(now: datetime.datetime) -> datetime.datetime:
    """Noon of the next 29th of February."""
    day = now.replace(hour=12, minute=0, second=0)
    while (day.month, day.day) != (2, 29):
        day += datetime.timedelta(days=1)
    return day


def last_minute(now: datetime.datetime) -> datetime.datetime:
    """Of this year, so near its end that the run goes on into the next."""
    return datetime.datetime(now.year, 12, 31, 23, 59, 30, tzinfo=datetime.UTC)


def two_years_on(now: datetime.datetime) -> datetime.datetime:
    return now + datetime.timedelta(days=731)


def today(now: datetime.datetime) -> datetime.datetime:
    return now


MOMENTS = [
    pytest.param(leap_day, "NPT-5:45", id="leap day, Kathmandu"),
    pytest.param(last_minute, "UTC0", id="year's last minute, UTC"),
    pytest.param(two_years_on, "NST3:30NDT", id="two years on, St John's"),
    pytest.param(today, "LINT-14", id="today, Kiritimati"),
]


@pytest.fixture(scope="module")
def library() -> Path:
    """The library that moves clocks."""
    package = pytest.importorskip("libfaketime", reason="libfaketime moves the clock; pip install libfaketime")
    (found,) = Path(package.__file__).parent.glob("vendor/libfaketime/src/libfaketime.so.1")
    return found


def run(command: list[str], library: Path, moment: datetime.datetime, zone: str, file: Path) -> str:
    """What a command printed, to a file, whose clock stood at a moment when it began."""
    offset = round((moment - datetime.datetime.now(datetime.UTC)).total_seconds())
    moved = {"LD_PRELOAD": str(library), "FAKETIME": f"{offset:+d}s", "DONT_FAKE_MONOTONIC": "1", "TZ": zone}
    moved["FAKETIME_DISABLE_SHM"] = "1"  # else every look at the clock takes a lock that all processes share
    with file.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=os.environ | moved,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(MINUTES * 60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with whatever it had started
            process.wait()
    assert status == 0, file.read_text()[-8000:]
    return file.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "zone"), MOMENTS)
class TestOnAnyDay:
    def test_the_clock_is_moved_and_waits_end(self, library, moment, zone, tmp_path):
        wanted = moment(datetime.datetime.now(datetime.UTC))
        words = "import threading, time; threading.Event().wait(.1); time.sleep(.1); print(time.time())"
        said = run(["-c", words], library, wanted, zone, tmp_path / "log")
        assert float(said) == pytest.approx(wanted.timestamp(), abs=10)

    @pytest.mark.parametrize(("folder", "names"), [("unit", UNIT), ("functional", FUNCTIONAL)])
    def test_the_tests_pass(self, library, moment, zone, *, folder, names, tmp_path):
        command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"not {FORKS}"]
        # A folder of its own: with a clock that runs ahead, pytest takes the folders of other runs for forgotten ones
        command += [f"--basetemp={tmp_path / 'run'}", *(f"tests/{folder}/{name}.py" for name in names)]
        wanted = moment(datetime.datetime.now(datetime.UTC))
        assert " passed" in run(command, library, wanted, zone, tmp_path / "log")
