"""
All notifications of a sidecar: takes changes in, hands each to the actions that it matters to.

Each action has a worker of its own, so that a slow or failing one holds up no other. Nothing here asks a backend or
renders: a retry repeats the action alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from injector.notify.carry_out import carrier
from injector.notify.worker import Timing, Worker
from injector.telemetry.traces import NO_TRACES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from injector.model.notification import NotificationStatus
    from injector.settings.actions import Action
    from injector.telemetry.logs import Log
    from injector.telemetry.meter import Meter
    from injector.telemetry.traces import Tracer
    from injector.telemetry.vitals import Vitals


class Notifier:
    """
    Told of changed files, it tells the applications. Make one, keep `run` running, end it by `drain` and cancelling.

    All methods belong to the thread of the event loop.

    Args:
        actions: of the settings, each with its name.
        debounce_min: seconds without a further change after which changes become one action.
        debounce_max: seconds from the first change after which they do in any case.
        splay: up to so many seconds, drawn at random, are waited after that; None for none.
        environment: our own environment; commands get what is harmless of it (see `carry_out`).
        log: where successes, failures and what commands print are written; its redactor cleans all of it.
        meter: told of each action that ended.
        vitals: an action that does not end in its time is overdue there.
        tracer: gets a span `notify` for each attempt.
        pass_environment: further variables that commands get, `NAME` or `NAME_*`.
    """

    def __init__(
        self,
        actions: Sequence[Action],
        *,
        debounce_min: float,
        debounce_max: float,
        splay: float | None,
        environment: Mapping[str, str],
        log: Log,
        meter: Meter,
        vitals: Vitals,
        tracer: Tracer = NO_TRACES,
        pass_environment: Sequence[str] = (),
    ) -> None:
        self._timing = Timing(debounce_min=debounce_min, debounce_max=debounce_max, splay=splay or 0.0)
        self._log = log
        self._meter = meter
        self._vitals = vitals
        self._tracer = tracer
        self._carry_out = carrier(environment, pass_environment, log)
        self._files: dict[tuple[str, str], str] = {}
        self._workers: dict[str, Worker] = {}
        self._tasks: dict[Worker, asyncio.Task[None]] = {}
        self._replaced = asyncio.Event()
        self._drained = False
        self.replace(actions)

    def changed(self, template: str, output: str, digest: str) -> None:
        """
        *output* (of *template*, as the settings name it) was published with new content whose hash is *digest*.

        Returns at once; may be called any number of times, before `run` too.
        """
        self._files[template, output] = digest
        for worker in self._workers.values():
            if worker.action.applies_to(template):
                worker.changed(template, output)

    def known(self, template: str, output: str, digest: str) -> None:
        """
        *output* is there with this content and nobody has to be told: it is unchanged since before our start, or the
        application starts only after it. A rollout's hash is over all files, so it needs these, too.
        """
        self._files[template, output] = digest

    def removed(self, template: str, output: str) -> None:
        """*output* was removed, as `prune` does. It counts as a change."""
        self._files.pop((template, output), None)
        for worker in self._workers.values():
            if worker.action.applies_to(template):
                worker.changed(template, output)

    async def run(self) -> None:
        """Works until it is cancelled; never raises otherwise. A command that runs then is killed."""
        try:
            while True:
                self._replaced.clear()
                self._start_new()
                await self._replaced.wait()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def drain(self, seconds: float) -> None:
        """Lets what runs finish, for *seconds* at most, and starts nothing new. Cancel `run` after it."""
        self._drained = True
        for worker in self._tasks:
            worker.retire()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=seconds)

    def replace(self, actions: Sequence[Action], timing: Timing | None = None) -> None:
        """
        From now on these actions hold, and *timing*, unless it is None, for changes to come. What is left of an action
        keeps its state and its waiting changes; one that runs is not interrupted.
        """
        self._timing = timing or self._timing
        old, self._workers = self._workers, {}
        for action in actions:
            worker = old.pop(action.name, None)
            if worker is None or worker.action.kind != action.kind:
                if worker is not None:
                    worker.retire()
                worker = self._worker(action)
            worker.action, worker.timing = action, self._timing
            self._workers[action.name] = worker
        for worker in old.values():
            worker.retire()
        self._replaced.set()

    def status(self) -> tuple[NotificationStatus, ...]:
        """How each action stands, in the order of the settings."""
        return tuple(worker.status() for worker in self._workers.values())

    def _worker(self, action: Action) -> Worker:
        return Worker(
            action,
            timing=self._timing,
            carry_out=self._carry_out,
            files=self._files,
            log=self._log,
            meter=self._meter,
            vitals=self._vitals,
            tracer=self._tracer,
        )

    def _start_new(self) -> None:
        self._tasks = {worker: task for worker, task in self._tasks.items() if not task.done()}
        if self._drained:
            return
        for worker in self._workers.values():
            if worker not in self._tasks:
                self._tasks[worker] = asyncio.create_task(worker.run(), name=f"notify {worker.action.name}")
