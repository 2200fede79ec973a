"""The call budget: unlimited until throttled, then a rate that fits the service."""

from __future__ import annotations

import asyncio

import pytest

from injector.backends.contract import RateLimit
from injector.resolve.budget import Budgets, CallBudget


class Clock:
    """Time that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    async def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return clock


async def test_nothing_is_held_back_before_the_first_throttling(clock: Clock) -> None:
    budget = CallBudget(clock)
    for _ in range(1000):
        await budget.acquire()
    assert clock.now == 100.0


async def test_all_calls_pause_for_what_the_service_asked(clock: Clock) -> None:
    budget = CallBudget(clock)
    budget.throttled(3.0)
    await budget.acquire()
    assert clock.now == pytest.approx(103.0)


async def test_a_service_of_forty_calls_a_second_is_used_near_its_limit(clock: Clock) -> None:
    """A token bucket of 40 a second, as Parameter Store's: 1,000 calls take about 25 s, not minutes."""
    budget = CallBudget(clock)
    tokens, last, done, refused = 40.0, clock.now, 0, 0
    while done < 1000:
        await budget.acquire()
        tokens, last = min(40.0, tokens + 40 * (clock.now - last)), clock.now
        if tokens >= 1:
            tokens -= 1
            done += 1
            budget.succeeded()
        else:
            refused += 1
            budget.throttled(0.2)
    assert clock.now - 100.0 < 45
    assert refused < 100


async def test_the_rate_never_falls_to_nothing(clock: Clock) -> None:
    budget = CallBudget(clock)
    for _ in range(50):
        budget.throttled(0.0)
        await budget.acquire()
    start = clock.now
    await budget.acquire()
    assert clock.now - start <= 2.0


async def test_a_known_limit_holds_from_the_start_with_its_burst_and_is_never_exceeded(clock: Clock) -> None:
    budget = CallBudget(clock, RateLimit(calls_per_second=10, burst=20))
    for _ in range(20):
        await budget.acquire()
        budget.succeeded()
    assert clock.now == 100.0
    for _ in range(100):
        await budget.acquire()
        budget.succeeded()
    assert clock.now == pytest.approx(110.0, abs=0.2)


async def test_throttled_below_a_known_limit_it_comes_back_to_the_limit_and_no_further(clock: Clock) -> None:
    budget = CallBudget(clock, RateLimit(calls_per_second=10))
    for _ in range(10):
        await budget.acquire()
        budget.succeeded()
    budget.throttled(0.1)
    for _ in range(300):
        await budget.acquire()
        budget.succeeded()
    start = clock.now
    for _ in range(100):
        await budget.acquire()
        budget.succeeded()
    assert clock.now - start == pytest.approx(10.0, abs=0.5)


async def test_what_was_learnt_holds_for_the_next_run_and_a_quiet_time_does_not_unlearn_it(clock: Clock) -> None:
    budgets = Budgets(clock)
    budget = budgets.of("account", None)
    for _ in range(20):
        await budget.acquire()
        budget.succeeded()
    budget.throttled(5.0)
    clock.now += 300.0
    budget = budgets.of("account", None)
    start, calls = clock.now, 60
    for _ in range(calls):
        await budget.acquire()
        budget.succeeded()
    assert clock.now - start > 1.5  # about 20 a second, and not 300 more for 300 quiet seconds
    other = budgets.of("another", None)
    start = clock.now
    for _ in range(1000):
        await other.acquire()
    assert clock.now == start


async def test_a_new_run_does_not_wait_for_the_pause_of_the_one_before(clock: Clock) -> None:
    budgets = Budgets(clock)
    budgets.of("account", None).throttled(3600.0)
    await budgets.of("account", None).acquire()
    assert clock.now < 103.0


async def test_a_service_that_names_another_limit_is_learnt_anew_and_a_forgotten_one_as_well(clock: Clock) -> None:
    budgets = Budgets(clock)
    first = budgets.of("account", None)
    assert budgets.of("account", None) is first
    limited = budgets.of("account", RateLimit(calls_per_second=10))
    assert limited is not first
    budgets.forget("account")
    assert budgets.of("account", RateLimit(calls_per_second=10)) is not limited
