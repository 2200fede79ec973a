"""Asks the backends, each account for itself: one that is slow or dead delays nobody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct, field

from injector.errors import BackendUnavailable
from injector.plan.planner import Plan
from injector.resolve.budget import Budgets
from injector.resolve.resolver import Limits, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from injector.app.reconcile.clock import Clock
    from injector.backends.contract import Backend, Outcome
    from injector.backends.registry import Registry
    from injector.model.references import Reference
    from injector.plan.planner import Account
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log
    from injector.telemetry.meter import Meter
    from injector.telemetry.traces import Tracer
    from injector.telemetry.vitals import Vitals

GRACE = 5.0  # seconds that a fetch may take to end after its deadline: its calls are being cancelled


class Flight(Struct):
    """A fetch under way: begun at `began` (monotonic), `left` have no answer yet, `asked` is how many it is for."""

    began: float
    draw: float
    asked: tuple[Reference, ...]
    left: set[Reference] = field(default_factory=set)


class Fetcher:
    """
    Runs at most one fetch for each account at a time. How fast an account lets itself be asked is learnt once, not anew
    with each fetch.

    *answered* is called for each answer as it comes, *ended* when a fetch is over, with all of its references answered.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        clock: Clock,
        log: Log,
        meter: Meter,
        vitals: Vitals,
        tracer: Tracer,
        answered: Callable[[Flight, Reference, Outcome], None],
        ended: Callable[[Account, Flight], None],
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._log = log
        self._meter = meter
        self._vitals = vitals
        self._tracer = tracer
        self._budgets = Budgets()
        self._answered = answered
        self._ended = ended
        self._flights: dict[Account, Flight] = {}
        self._tasks: dict[Account, asyncio.Task[None]] = {}

    def is_busy(self, account: Account) -> bool:
        """Whether a fetch of *account* is under way."""
        return account in self._flights

    def flights(self) -> list[Flight]:
        """The fetches under way."""
        return list(self._flights.values())

    def is_asked(self, reference: Reference, account: Account) -> bool:
        """Whether *reference* waits for its answer."""
        flight = self._flights.get(account)
        return flight is not None and reference in flight.left

    def start(self, account: Account, references: Sequence[Reference], draw: float, settings: Settings) -> None:
        """Begins to ask *account*, of which no fetch is under way."""
        flight = Flight(self._clock.now(), draw, tuple(references), set(references))
        self._flights[account] = flight
        self._vitals.expect(worker_of(account), within=settings.timeout + GRACE)
        self._tasks[account] = asyncio.create_task(self._run(account, flight, settings))

    def forget(self, account: Account) -> None:
        """Nothing of *account* is in use: what was learnt of how fast it may be asked goes."""
        self._budgets.forget(account)

    async def close(self, *, grace: float) -> None:
        """Ends every fetch; a backend that does not let itself be cancelled is left behind after *grace* seconds."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for account in self._flights:
            self._vitals.forget(worker_of(account))

    async def _run(self, account: Account, flight: Flight, settings: Settings) -> None:
        plan = Plan({account: flight.asked}, len(flight.asked))
        limits = Limits(
            deadline=settings.timeout, call_timeout=settings.plugins.call_timeout, concurrency=settings.concurrency
        )

        def answered(reference: Reference, outcome: Outcome) -> None:
            if reference in flight.left:
                flight.left.discard(reference)
                self._answered(flight, reference, outcome)

        try:
            answers = await resolve(
                plan,
                self._open,
                limits=limits,
                log=self._log,
                answered=answered,
                meter=self._meter,
                tracer=self._tracer,
                budgets=self._budgets,
            )
        except Exception as error:  # noqa: BLE001  # a backend with a fault costs its own references
            failed = BackendUnavailable(
                f"the backend of {account.prefix} failed: {_kind(error)}", hint="this is a fault of the backend"
            )
            answers = dict.fromkeys(flight.asked, failed)
        for reference in tuple(flight.left):
            answered(reference, answers[reference])
        del self._flights[account], self._tasks[account]
        self._vitals.forget(worker_of(account))
        self._ended(account, flight)

    async def _open(self, account: Account) -> Backend:
        return await self._registry.open(account.prefix, account.connection)


def worker_of(account: Account) -> str:
    """What the fetches of *account* are called among the vitals."""
    return f"fetch {account.prefix}" + (f" {account.connection}" if account.connection else "")


def _kind(error: BaseException) -> str:
    """The error's type; its text may hold a value. One from a group of tasks is told by its first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__
