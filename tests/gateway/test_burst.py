"""How much goes to the public site at, below and above the threshold, and what happens when both sites are full."""

from collections.abc import Callable

import pytest

from deploy.hybrid import Hybrid
from shelfbridge.client import SearchClient
from shelfbridge.errors import Overloaded
from tests.gateway.conftest import CAPACITY, Open, frozen
from tests.gateway.load import Tally, run

pytestmark = pytest.mark.slow

N = 4
Client = Callable[..., SearchClient]
PATIENT = {"burst_above": N, "per_try_timeout": 5.0}
"""A busy machine must not look like a slow site here."""


def share(hybrid: Hybrid, client: Client, callers: int, **options: object) -> tuple[float, Tally]:
    """The public site's share of the searches, by its own counters."""
    before = hybrid.public.requests()["search"]
    tally = run(client, callers, seconds=1.0, **options)
    return (hybrid.public.requests()["search"] - before) / len(tally.ended), tally


@pytest.mark.parametrize("callers", [N // 2, N])
def test_nothing_bursts_up_to_the_threshold(hybrid: Hybrid, gateway: Open, client: Client, callers: int) -> None:
    with gateway(policies=PATIENT):
        found, tally = share(hybrid, client, callers)
    assert tally.failures == []
    assert found == 0


@pytest.mark.parametrize("callers", [2 * N, 3 * N])
def test_the_rest_bursts_above_it(hybrid: Hybrid, gateway: Open, client: Client, callers: int) -> None:
    with gateway(policies=PATIENT):
        found, tally = share(hybrid, client, callers)
    print(f"{callers} callers, threshold {N}: {found:.0%} public")
    assert tally.failures == []
    assert 0.1 < found < 0.9


def test_token_without_the_claim_never_bursts(
    hybrid: Hybrid, gateway: Open, client: Client, token: Callable[..., str]
) -> None:
    with gateway(policies=PATIENT):
        found, tally = share(hybrid, lambda: client(token=token(residency=None)), 2 * N)
    assert tally.failures == []
    assert found == 0


def test_no_bursts_allowed(hybrid: Hybrid, gateway: Open, client: Client) -> None:
    with gateway(policies={**PATIENT, "max_bursts": 0}):
        found, tally = share(hybrid, client, 2 * N)
    assert found == 0
    assert {type(error) for error in tally.failures} == {Overloaded}
    assert "the private site is full" in str(tally.failures[0])


def test_both_full(hybrid: Hybrid, gateway: Open, client: Client) -> None:
    with gateway(policies=PATIENT) as running, frozen(hybrid.private.pid), frozen(hybrid.public.pid):
        tally = run(lambda: client(timeout=0.6), N + 2 * CAPACITY, seconds=0.5)
        shed = running.counters("cluster.public.upstream_rq_pending_overflow")
    full = [error for error in tally.failures if isinstance(error, Overloaded)]
    assert full
    assert "both sites are full" in str(full[0])
    assert sum(shed.values()) > 0
    with gateway(policies=PATIENT):
        assert run(client, 1, seconds=0.2).failures == []


def test_private_full_for_restricted(hybrid: Hybrid, gateway: Open, client: Client) -> None:
    with gateway(policies=PATIENT), frozen(hybrid.private.pid):
        tally = run(lambda: client(timeout=0.4), 2 * CAPACITY, seconds=0.3, user="u-1")
    assert any("must not leave" in str(error) for error in tally.failures)
