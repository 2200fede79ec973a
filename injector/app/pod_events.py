"""What of a sidecar's life is worth an Event of its pod: found by comparing two snapshots, told without haste."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from injector import errors
from injector.app.reconcile.worker import Worker
from injector.app.status import FileState
from injector.errors import ClusterError, ExitCode, InjectorError
from injector.kube.events import EventWriter, News
from injector.telemetry.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from injector.app.status import FileStatus, SidecarStatus
    from injector.telemetry.logs import Log

_EVERY: Final = 1.0
_MOST_WAITING: Final = 64
_MOST_NAMED: Final = 5
_LONGEST_PAUSE: Final = 300.0
_FORBIDDEN: Final = 403
# What may pass by itself: a token that is over, which the kubelet replaces; too many calls; rights that come later, or
# that an API server which has just started does not know yet.
_PASSING: Final = frozenset({401, 403, 429})
_MOST_DOUBLINGS: Final = 9  # more than _LONGEST_PAUSE; a float ends at 1024, which are days
_FAILING: Final = frozenset({FileState.FAILED, FileState.PENDING})
_REASONS: Final = {
    ExitCode.MISSING: "TokenMissing",
    ExitCode.UNAVAILABLE: "BackendUnavailable",
    ExitCode.CHECK: "ValidationFailed",
}


def news(before: SidecarStatus | None, after: SidecarStatus) -> Iterator[News]:
    """What has happened between two snapshots; *before* is None at the beginning."""
    was_started = before is not None and before.started
    if after.started and not was_started:
        yield News("Normal", "ConfigRendered", f"{_count(len(after.files))} rendered")
    earlier = {file.template: file for file in before.files} if before is not None else {}
    if was_started:
        yield from _updates([file for file in after.files if _is_newer(earlier.get(file.template), file)])
    for file in after.files:
        yield from _troubles(earlier.get(file.template), file)
    yield from _notifications(before, after)
    yield from _plugins(before, after)


def _is_newer(before: FileStatus | None, after: FileStatus) -> bool:
    return after.changed_at is not None and (before is None or after.changed_at != before.changed_at)


def _updates(files: list[FileStatus]) -> Iterator[News]:
    if files:
        names = ", ".join(file.template for file in files[:_MOST_NAMED])
        more = f" and {len(files) - _MOST_NAMED} more" if len(files) > _MOST_NAMED else ""
        yield News("Normal", "ConfigUpdated", f"{_count(len(files))} updated: {names}{more}")


def _troubles(before: FileStatus | None, after: FileStatus) -> Iterator[News]:
    if after.error is None:
        if before is not None and before.error is not None and after.state is FileState.READY:
            yield News("Normal", "ConfigRendered", f"{after.template}: recovered")
        return
    if before is not None and (before.error, before.state) == (after.error, after.state):
        return
    if after.state is FileState.STALE:
        yield News("Warning", "ServingStale", f"{after.template}: the last good file stays: {after.error}")
    elif after.state in _FAILING:
        yield News("Warning", reason_of(after.error_code), f"{after.template}: {after.error}")


def reason_of(code: str | None) -> str:
    """The Event's reason for a file that has the error *code*."""
    return _REASONS.get(_exit_codes().get(code or "", ExitCode.INVALID), "RenderFailed")


def _exit_codes() -> Mapping[str, ExitCode]:
    leaves = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, InjectorError)]
    return {leaf.code: leaf.exit_code for leaf in leaves}


def _notifications(before: SidecarStatus | None, after: SidecarStatus) -> Iterator[News]:
    earlier = {one.name: one for one in before.notifications} if before is not None else {}
    for one in after.notifications:
        old = earlier.get(one.name)
        if one.last_at is not None and (old is None or one.last_at != old.last_at):
            yield News("Normal", "ReloadSucceeded", f"{one.name} ({one.kind})")
        if one.failures and (old is None or not old.failures or one.error != old.error):
            yield News("Warning", "ReloadFailed", f"{one.name} ({one.kind}): {one.error}")


def _plugins(before: SidecarStatus | None, after: SidecarStatus) -> Iterator[News]:
    earlier = {one.name: one.crashes + one.failed_starts for one in before.plugins} if before is not None else {}
    for one in after.plugins:
        if one.crashes + one.failed_starts > earlier.get(one.name, 0):
            yield News("Warning", "PluginCrashed", f"{one.name}: {one.last_error or 'it ended'}")


def _count(files: int) -> str:
    return f"{files} file{'' if files == 1 else 's'}"


class PodEvents:
    """
    Tells the API server by *writer* what becomes of *status*, from a thread of its own.

    An API server that is away delays Events, and nothing else; what waits is bounded, the oldest goes first.
    """

    def __init__(
        self, writer: EventWriter, *, status: Callable[[], SidecarStatus], log: Log, first: Iterable[News] = ()
    ) -> None:
        self._writer = writer
        self._status = status
        self._log = log
        self._waiting: list[News] = list(first)
        self._worker = Worker("events", Vitals(), within=60.0)
        self._failures = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        before: SidecarStatus | None = None
        loop = asyncio.get_running_loop()
        not_before = loop.time()
        try:
            while True:
                after = self._status()
                self._waiting += news(before, after)
                before = after
                del self._waiting[:-_MOST_WAITING]
                if self._waiting and loop.time() >= not_before:
                    not_before = loop.time() + await self._tell()
                await asyncio.sleep(_EVERY)
        finally:
            await self._worker.close(grace=0.0)

    async def _tell(self) -> float:
        """Seconds to leave the API server alone."""
        try:
            while self._waiting:
                item = self._waiting[0]
                clean = News(item.kind, item.reason, self._log.redactor.clean(item.note))
                await self._worker.call(lambda clean=clean: self._writer.write(clean))  # type: ignore[misc]
                del self._waiting[0]
        except ClusterError as error:
            return self._failed(error)
        self._failures = 0
        return 0.0

    def _failed(self, error: ClusterError) -> float:
        if not self._failures:
            needed = "events: the service account needs create and patch on events of events.k8s.io"
            hint = needed if error.status == _FORBIDDEN else error.hint
            self._log.warning("Events cannot be written", reason=error.message, hint=hint)
        self._failures += 1
        if error.status is not None and error.status < 500 and error.status not in _PASSING:  # HTTP
            del self._waiting[0]  # it would be refused again
            return 0.0
        return min(_LONGEST_PAUSE, 2.0 ** min(self._failures, _MOST_DOUBLINGS))
