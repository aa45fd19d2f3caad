"""What the measuring programs share: how they end, what they read from the command line, and what they write."""

import argparse
import errno
import json
import os
import signal
from contextlib import ExitStack

import pytest

from loadtests import serving
from loadtests.lab.bench_index.__main__ import sizes
from loadtests.load import Load, Sample
from loadtests.program import amount, count, ending
from loadtests.queries import QueryStream
from loadtests.serving import LoadFailed, generate, put
from shelfbridge.errors import DataError


@pytest.fixture
def signals():
    """Those of a program that a person started, whoever started the tests; put back afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    for number in before:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_program_after_its_servers(signals, number):
    ended = []

    def measure():
        with ending("stopped"), ExitStack() as running:
            running.callback(ended.append, number)
            os.kill(os.getpid(), number)

    with pytest.raises(SystemExit, match="stopped"):
        measure()
    assert ended == [number]


def test_under_nohup_a_program_goes_on(signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ending("stopped"):
        os.kill(os.getpid(), signal.SIGHUP)


def test_an_error_ends_a_program_with_its_message(signals):
    with pytest.raises(SystemExit, match="error: no such file; give another"), ending("stopped"):
        raise DataError("no such file; give another")


def test_so_does_a_full_disk(signals):
    full = OSError(errno.ENOSPC, "", "out/bench/bench.json")
    with pytest.raises(SystemExit, match=r"error: out/bench/bench.json: No space left.*make room"), ending("nothing"):
        raise full


@pytest.mark.parametrize(
    ("read", "text"), [(count, "0"), (count, "1.5"), (count, "x"), (amount, "0"), (amount, "nan"), (sizes, "10,x")]
)
def test_what_is_no_number_above_zero_is_refused(read, text):
    with pytest.raises(argparse.ArgumentTypeError, match="number above 0"):
        read(text)


def test_sizes_are_sorted_and_distinct():
    assert sizes("100,10,100") == [10, 100]


def answers(monkeypatch, **sample):
    """Let the load generator give a sample."""
    done = argparse.Namespace(returncode=0, stdout=json.dumps(vars(Sample(**sample))), stderr="")
    monkeypatch.setattr(serving.subprocess, "run", lambda *_, **__: done)


def test_a_load_leaves_the_queries_that_it_did_not_use(monkeypatch):
    stream, same = (QueryStream(["tent"], [f"word{number}" for number in range(6000)]) for _ in range(2))
    answers(monkeypatch, latencies_ms=[1.0], asked=3)
    put(Load({}, 1, [], clients=1), stream, 100)
    assert stream.cold(1) == same.cold(4)[3:]


def test_a_load_whose_queries_end_before_it_fails(monkeypatch):
    answers(monkeypatch, latencies_ms=[1.0], asked=2)
    with pytest.raises(LoadFailed, match="2 queries ended before the load did; give fewer --seconds"):
        generate(Load({}, 1, ["a", "b"], clients=1))


def test_a_server_that_answers_nothing_is_told_with_its_reason(monkeypatch):
    answers(monkeypatch, errors={"ServerFault: broken": 2}, asked=2)
    with pytest.raises(LoadFailed, match=r"no search was answered \(ServerFault: broken\)"):
        generate(Load({}, 1, ["a", "b"], clients=1))
