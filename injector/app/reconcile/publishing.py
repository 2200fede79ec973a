"""How jobs become files: rendered in the publisher's thread, checked beside it, published in the thread again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.app.reconcile import jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from injector.app.reconcile.checks import Checks
    from injector.app.reconcile.jobs import Done, Job
    from injector.app.reconcile.request import Result, Sink
    from injector.app.reconcile.worker import Worker
    from injector.errors import InjectorError
    from injector.settings.schema import FileSettings
    from injector.telemetry.traces import Tracer


class Publishing:
    """
    The way to *sink*, whose methods are called in the thread of *publisher* only.

    *checks* runs check commands; without, none are run. None of the methods raises what is the user's but `remove`.
    """

    def __init__(self, publisher: Worker, sink: Sink, checks: Checks | None, tracer: Tracer) -> None:
        self._publisher = publisher
        self._sink = sink
        self._checks = checks
        self._tracer = tracer

    def is_checked(self, own: FileSettings) -> bool:
        """Whether a file with these settings is seen by a command before: that may take long."""
        return self._checks is not None and bool(own.check.command)

    async def publish(self, work: Sequence[Job], *, is_wanted: Callable[[], bool]) -> list[Done]:
        """
        What became of each, one that fails costs no other anything; nothing when *is_wanted* says no after a check.
        """
        sink, tracer = self._sink, self._tracer
        if not any(self.is_checked(job.seen.own) for job in work):
            return await self._publisher.call(lambda: jobs.publish(jobs.render(work, tracer), sink, tracer))
        rendered = await self._publisher.call(lambda: jobs.render(work, tracer))
        if error := await self._refusal(jobs.results_of(rendered)):
            return jobs.refused(rendered, error)
        if not is_wanted():
            return []
        return await self._publisher.call(lambda: jobs.publish(rendered, sink, tracer))

    async def publish_set(self, work: Sequence[Job]) -> list[Done]:
        """What became of each: all are published, or none."""
        sink, tracer = self._sink, self._tracer
        rendered = await self._publisher.call(lambda: jobs.render(work, tracer))
        if not jobs.is_held(rendered) and (error := await self._refusal(jobs.results_of(rendered))):
            return jobs.refused(rendered, error)
        return await self._publisher.call(lambda: jobs.publish_set(rendered, sink, tracer))

    async def remove(self, target: Path, root: Path | None) -> bool:
        """As of Sink."""
        return await self._publisher.call(lambda: self._sink.remove(target, root))

    async def _refusal(self, results: Sequence[Result]) -> InjectorError | None:
        return await self._checks.refusal(results) if self._checks is not None and results else None
