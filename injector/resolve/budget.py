"""
One call budget per backend and account: how many calls at once, and how many a second.

A service whose limit is known beforehand starts with that as a token bucket; every other one is asked as fast as the
backend bears until it throttles. Then additive increase, multiplicative decrease, as TCP does: the rate falls to
`DECREASE` of what was just achieved, all calls pause for what the service asked (or a jittered moment), and every
second without throttling adds `INCREASE` calls a second, up to the known limit if there is one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from injector.backends.contract import RateLimit

DECREASE = 0.9  # mild: the measured rate is already what the service let through
INCREASE = 1.0  # calls a second, each second
SLOWEST = 0.5  # calls a second; below that a render would not end
LONGEST_QUIET = 1.0 / SLOWEST  # seconds between two answers that count as asking all the time
WINDOW_SECONDS = 1.0  # over which the achieved rate is measured
CATCH_UP_SECONDS = 0.25  # of quiet that may be made good at once: a service's bucket fills during a pause as well


class CallBudget:
    """
    Hands out permissions to call. Use one for each account.

    Args:
        clock: monotonic seconds.
        limit: what the service is known to bear; None when nothing is known.
    """

    def __init__(self, clock: Callable[[], float], limit: RateLimit | None = None) -> None:
        self._clock = clock
        self._rate = limit.calls_per_second if limit else None
        self._fastest = limit.calls_per_second if limit else float("inf")
        # Seconds that `_next` may lie in the past: what was not used of them goes out at once.
        self._slack = (limit.burst - 1) / limit.calls_per_second if limit else 0.0
        self._next = float("-inf")
        self._paused_until = 0.0
        self._raised_at = clock()
        self._succeeded: deque[float] = deque()

    async def acquire(self) -> None:
        """Returns when the next call may go out."""
        while (delay := self._reserve()) > 0:  # noqa: ASYNC110  # waits for a time, not for an event
            await asyncio.sleep(delay)

    def succeeded(self) -> None:
        """A call was answered; the rate grows with time, not with calls, so that bursts do not race it up."""
        now = self._clock()
        self._succeeded.append(now)
        self._forget(now)
        if self._rate is not None and now > self._raised_at:
            # A quiet time tells nothing of what the service bears: between two fetches the rate does not grow.
            asked_for = min(now - self._raised_at, LONGEST_QUIET)
            self._rate = min(self._fastest, self._rate + INCREASE * asked_for)
            self._raised_at = now

    def throttled(self, pause: float) -> None:
        """The service refused a call for being one too many; nothing goes out for *pause* seconds."""
        now = self._clock()
        self._forget(now)
        if now >= self._paused_until:  # the answers of one burst count as one signal
            achieved = len(self._succeeded) / WINDOW_SECONDS
            self._rate = max(SLOWEST, DECREASE * (min(self._rate, achieved) if self._rate else achieved))
            self._slack = max(CATCH_UP_SECONDS, 1.0 / self._rate)
            self._next = now
        self._raised_at = now + pause
        self._paused_until = max(self._paused_until, now + pause)

    def resume(self) -> None:
        """
        A new run begins: the pause is over, the rate stays. When to ask again after a long pause is for who begins runs
        to know; one that waited for it here would end at its deadline.
        """
        self._paused_until = 0.0

    def _reserve(self) -> float:
        """Seconds to wait before asking again; 0 means: go, and your slot is taken."""
        now = self._clock()
        if now < self._paused_until:
            return self._paused_until - now
        if self._rate is None:
            return 0.0
        if now < self._next:
            return self._next - now
        self._next = max(self._next, now - self._slack) + 1.0 / self._rate
        return 0.0

    def _forget(self, now: float) -> None:
        while self._succeeded and self._succeeded[0] < now - WINDOW_SECONDS:
            self._succeeded.popleft()


class _Kept(Struct):
    limit: RateLimit | None
    budget: CallBudget


class Budgets:
    """The budgets of accounts, kept from one fetch to the next: throttling is learnt once. *clock* is CallBudget's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[Hashable, _Kept] = {}

    def of(self, account: Hashable, limit: RateLimit | None) -> CallBudget:
        """The budget of *account* for a run that begins; a new one when its service's known limit is another."""
        kept = self._kept.get(account)
        if kept is None or kept.limit != limit:
            kept = self._kept[account] = _Kept(limit, CallBudget(self._clock, limit))
        kept.budget.resume()
        return kept.budget

    def forget(self, account: Hashable) -> None:
        """Nobody asks *account* any more."""
        self._kept.pop(account, None)
