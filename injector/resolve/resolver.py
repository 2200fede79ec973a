"""
Executes a plan: every account side by side, each with its own budget, all under one deadline.

1. Each account's backend is opened; a slow or dead one delays nobody else.
2. Its references go out in batches as large as the backend takes, as many at once as it bears.
3. What comes back retryable goes out again after a pause, in batches that are full again as far as may be, until the
   deadline or, for a backend that does not answer at all, `MOST_ATTEMPTS`. Throttling has no such cap: it always ends.
   A crash of the plugin costs each of the references that it had one retry; the backend restarts itself.
4. At the deadline everything still open is answered with DeadlineExceeded.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.errors import (
    DeadlineExceeded,
    InjectorError,
    MissingError,
    PluginCrashed,
    PluginError,
    ResolutionError,
    Throttled,
)
from injector.plan.planner import Account
from injector.resolve.budget import Budgets
from injector.telemetry.meter import Meter
from injector.telemetry.traces import NO_TRACES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from injector.backends.contract import Backend, Outcome
    from injector.model.references import Reference
    from injector.plan.planner import Plan
    from injector.telemetry.logs import Log
    from injector.telemetry.traces import Tracer

MOST_ATTEMPTS = 4  # 0.2 + 0.4 + 0.8 s of full-jitter pauses at most: bridges a restart, not an outage
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
TICK = 0.25
_OK = "ok"


class Limits(Struct, frozen=True):
    """Of one run: seconds for all of it and for one call, and calls in flight for each account."""

    deadline: float = 60.0
    call_timeout: float = 30.0
    concurrency: int = 64


async def resolve(
    plan: Plan,
    open_backend: Callable[[Account], Awaitable[Backend]],
    *,
    limits: Limits,
    log: Log,
    progress: Callable[[int, int], None] | None = None,
    answered: Callable[[Reference, Outcome], None] | None = None,
    meter: Meter | None = None,
    tracer: Tracer = NO_TRACES,
    budgets: Budgets | None = None,
) -> dict[Reference, Outcome]:
    """
    A value or an error for every reference of *plan*. Raises nothing but cancellation.

    *open_backend* gives the backend for an account, or raises the InjectorError that then stands for all of the
    account's references. *progress* is called with (answered, all) after every answer, and every `TICK` seconds;
    *answered* with every answer as it comes, but for those that the deadline gives. *meter* is told of every call,
    *tracer* gives each a span. *budgets* are those of runs before, when there may be some.
    """
    answers: dict[Reference, Outcome] = {}
    run = _Run(answers, len(plan), limits, log, progress, answered, meter or Meter(), tracer, budgets or Budgets())
    tasks = [asyncio.create_task(run.account(account, refs, open_backend)) for account, refs in plan.fetches.items()]
    if not tasks:
        return answers
    ticker = asyncio.create_task(run.tick())
    try:
        _, late = await asyncio.wait(tasks, timeout=limits.deadline)
        for task in late:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for task in [*tasks, ticker]:
            task.cancel()
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result
    for reference in itertools.chain.from_iterable(plan.fetches.values()):
        if reference not in answers:
            answers[reference] = run.late(reference)
    return answers


class _Run:
    """What the accounts of one run share."""

    def __init__(
        self,
        answers: dict[Reference, Outcome],
        total: int,
        limits: Limits,
        log: Log,
        progress: Callable[[int, int], None] | None,
        answered: Callable[[Reference, Outcome], None] | None,
        meter: Meter,
        tracer: Tracer,
        budgets: Budgets,
    ) -> None:
        self._answered = answered
        self._answers = answers
        self._total = total
        self.limits = limits
        self.log = log
        self._progress = progress
        self.meter = meter
        self.tracer = tracer
        self.budgets = budgets
        self.last_errors: dict[Reference, InjectorError] = {}
        self._names: dict[Account, str] = {}  # of the backends that were opened

    async def account(
        self, account: Account, references: Sequence[Reference], open_backend: Callable[[Account], Awaitable[Backend]]
    ) -> None:
        began = time.monotonic()
        try:
            backend = await open_backend(account)
        except InjectorError as error:
            self.meter.fetched(account.prefix, error.code, time.monotonic() - began, call="open")
            for reference in references:
                self.answer(reference, error)
            return
        self._names[account] = backend.name
        await _Account(self, account, backend, references).run()

    async def tick(self) -> None:
        """Tells of progress while there is none, so that a bar shows that something is waited for."""
        while self._progress is not None:
            await asyncio.sleep(TICK)
            self._progress(len(self._answers), self._total)

    def late(self, reference: Reference) -> InjectorError:
        """The error for a reference that the deadline overtook; tells what kept it waiting, if that is known."""
        last = self.last_errors.get(reference)
        if isinstance(last, Throttled):
            return last
        because = f"; the last attempt ended with: {last.message}" if last else ""
        name = self._names.get(Account(reference.prefix, reference.connection))
        who = f"{name} gave no answer for {reference}" if name else f"the backend of {reference} did not start"
        return DeadlineExceeded(
            f"{who} within the run's {self.limits.deadline:g} s{because}",
            hint="raise --timeout, or find out what the backend is waiting for",
        )

    def answer(self, reference: Reference, outcome: Outcome) -> None:
        if not isinstance(outcome, InjectorError):
            self.log.redactor.add(outcome.data.reveal())
        self._answers[reference] = outcome
        if self._answered is not None:
            self._answered(reference, outcome)
        if self._progress is not None:
            self._progress(len(self._answers), self._total)


class _Account:
    """One account's queue, its workers, and its budget."""

    def __init__(self, run: _Run, account: Account, backend: Backend, references: Sequence[Reference]) -> None:
        self._run = run
        self._prefix = account.prefix
        self._backend = backend
        self._open = len(references)
        self._budget = run.budgets.of(account, backend.limits.rate)
        self._size = max(1, backend.limits.largest_batch)
        self._attempts: dict[Reference, int] = {}
        # (not before, order, references): a heap, so that a pause of one batch holds up no other.
        self._queue: list[tuple[float, int, list[Reference]]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._crashed: set[Reference] = set()
        for start in range(0, len(references), self._size):
            self._push(0.0, list(references[start : start + self._size]))

    async def run(self) -> None:
        limit = min(self._run.limits.concurrency, self._backend.limits.most_in_flight, len(self._queue))
        async with asyncio.TaskGroup() as workers:
            for _ in range(max(1, limit)):
                workers.create_task(self._work())

    async def _work(self) -> None:
        while (references := await self._next()) is not None:
            await self._budget.acquire()
            self._fill_up(references)
            await self._call(references)

    async def _next(self) -> list[Reference] | None:
        """The next batch that is due, or None when every reference has its answer."""
        while self._open:
            delay = None
            if self._queue:
                delay = self._queue[0][0] - time.monotonic()
                if delay <= 0:
                    return heapq.heappop(self._queue)[-1]
            self._changed.clear()
            try:
                async with asyncio.timeout(delay):
                    await self._changed.wait()
            except TimeoutError:
                continue
        self._changed.set()
        return None

    def _fill_up(self, references: list[Reference]) -> None:
        """Adds what else is due to a batch that has room: calls are what is scarce."""
        while len(references) < self._size and self._queue and self._queue[0][0] <= time.monotonic():
            not_before, _, more = heapq.heappop(self._queue)
            room = self._size - len(references)
            references += more[:room]
            if more[room:]:
                self._push(not_before, more[room:])

    async def _call(self, references: list[Reference]) -> None:
        for reference in references:
            self._attempts[reference] = self._attempts.get(reference, 0) + 1
        began = time.monotonic()
        with self._run.tracer.span("fetch", backend=self._prefix, references=len(references)) as span:
            result = DeadlineExceeded.code  # what cancels a call is the run's deadline, or its end
            try:
                result, worst, again = await self._fetch(references)
            finally:
                self._run.meter.fetched(self._prefix, result, time.monotonic() - began)
            if result != _OK:
                span.fail(result)
        if isinstance(worst, Throttled):
            self._run.meter.throttled(self._prefix)
        if worst is not None:
            self._retry(worst, again)
        else:
            self._budget.succeeded()

    async def _fetch(self, references: list[Reference]) -> tuple[str, InjectorError | None, list[Reference]]:
        """One call: its result for the meter, the error that decides on the pause, and what goes out again."""
        left = set(references)
        again: list[Reference] = []
        worst: InjectorError | None = None
        result = _OK
        try:
            async for reference, outcome in self._backend.fetch(references, timeout=self._run.limits.call_timeout):
                left.discard(reference)
                # A missing value is the store's answer: the call was none the worse for it.
                if isinstance(outcome, InjectorError) and not isinstance(outcome, MissingError):
                    result = outcome.code
                if isinstance(outcome, InjectorError) and self._may_retry(outcome, reference):
                    again.append(reference)
                    worst = _worse(worst, outcome)
                    self._run.last_errors[reference] = outcome
                else:
                    self._settle(reference, outcome)
        except InjectorError as error:
            result = error.code
            for reference in left:
                if self._may_retry(error, reference):
                    again.append(reference)
                    worst = _worse(worst, error)
                    self._run.last_errors[reference] = error
                else:
                    self._settle(reference, error)
        else:
            for reference in left:
                result = PluginError.code
                self._settle(reference, PluginError(f"{self._backend.name} did not answer for {reference}"))
        return result, worst, again

    def _may_retry(self, error: InjectorError, reference: Reference) -> bool:
        if isinstance(error, PluginCrashed):
            first = reference not in self._crashed
            self._crashed.add(reference)
            return first
        return error.retryable and (isinstance(error, Throttled) or self._attempts[reference] < MOST_ATTEMPTS)

    def _retry(self, error: InjectorError, references: list[Reference]) -> None:
        import random  # late: start-up

        attempt = max(self._attempts[reference] for reference in references)
        ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1))
        jitter = random.uniform(0, ceiling)  # noqa: S311  # full jitter, no cryptography
        asked = _asked(error)
        pause = asked + jitter
        if isinstance(error, Throttled):
            self._budget.throttled(pause)
        self._run.log.debug(
            "retry",
            backend=self._backend.name,
            reason=error.code,
            attempt=attempt,
            references=len(references),
            seconds=round(pause, 3),
        )
        now = time.monotonic()
        left = self._join_waiting(references, earliest=now + asked + jitter / 2)
        if left:
            self._push(now + pause, left)

    def _join_waiting(self, references: list[Reference], *, earliest: float) -> list[Reference]:
        """Puts references that go out again into batches that wait until *earliest* and have room; gives the rest."""
        if self._size > 1:
            for waits_until, _, waiting in sorted(self._queue):
                room = self._size - len(waiting)
                if waits_until >= earliest and room > 0:
                    waiting += references[:room]
                    references = references[room:]
        return references

    def _push(self, not_before: float, references: list[Reference]) -> None:
        heapq.heappush(self._queue, (not_before, next(self._order), references))
        self._changed.set()

    def _settle(self, reference: Reference, outcome: Outcome) -> None:
        self._open -= 1
        self._run.answer(reference, outcome)
        if not self._open:
            self._changed.set()


def _worse(one: InjectorError | None, other: InjectorError) -> InjectorError:
    """The error that decides on the pause: throttling before others, then the longest delay that was asked for."""
    return other if one is None else max(one, other, key=lambda error: (isinstance(error, Throttled), _asked(error)))


def _asked(error: InjectorError) -> float:
    """Seconds that the backend asked for."""
    return (error.retry_after or 0.0) if isinstance(error, ResolutionError) else 0.0
