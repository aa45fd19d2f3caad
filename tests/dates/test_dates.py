"""What depends on the time, run again on other days and in other time zones, with the real servers.

`libfaketime` moves the clock of every process that a run starts: pytest, Triton and its steps, Redis, consumers.
Debian's faketime 0.9.10 will not do: with it Python's waits never end, or its sleeps fail.
"""

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = (
    *("test_profiles_access", "test_profiles_events", "test_profiles_kept", "test_profiles_privacy"),
    *("test_profiles_redis", "test_profiles_sqlite", "test_profiles_stores"),
    *("test_shelf_edges", "test_shelf_fill", "test_shelf_products", "test_recommend_signals", "test_recommend_split"),
    *("test_recommend_interactions", "test_sample_shoppers", "test_bench_shelf", "test_shopper_programs"),
    *("test_client_shopper", "test_audit_chain", "test_audit_collector", "test_signing"),
    *("test_security_archive", "test_security_certificates", "test_security_tokens"),
)
FUNCTIONAL = ("test_recommend", "test_personal", "test_events", "test_privacy")
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


def run(command: list[str], library: Path, moment: datetime.datetime, zone: str) -> str:
    """What a command printed whose clock stood at a moment when it began."""
    offset = round((moment - datetime.datetime.now(datetime.UTC)).total_seconds())
    moved = {"LD_PRELOAD": str(library), "FAKETIME": f"{offset:+d}s", "DONT_FAKE_MONOTONIC": "1", "TZ": zone}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | moved,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=MINUTES * 60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


def suite(folder: str, names: tuple[str, ...]) -> list[str]:
    return ["-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{folder}/{name}.py" for name in names)]


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "zone"), MOMENTS)
class TestOnAnyDay:
    def test_the_clock_is_moved_and_waits_end(self, library, moment, zone):
        wanted = moment(datetime.datetime.now(datetime.UTC))
        said = run(
            ["-c", "import threading, time; threading.Event().wait(.1); time.sleep(.1); print(time.time())"],
            library,
            wanted,
            zone,
        )
        assert float(said) == pytest.approx(wanted.timestamp(), abs=10)

    def test_the_unit_tests_pass(self, library, moment, zone):
        assert " passed" in run(suite("unit", UNIT), library, moment(datetime.datetime.now(datetime.UTC)), zone)

    def test_the_functional_tests_pass(self, library, moment, zone):
        assert " passed" in run(
            suite("functional", FUNCTIONAL), library, moment(datetime.datetime.now(datetime.UTC)), zone
        )
