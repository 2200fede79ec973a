"""One render that does not give up at once: for init containers, which may start before what they need."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from injector.app import sources
from injector.app.build import cancelled_by_sigterm, registry
from injector.app.ownership import only_writer
from injector.app.rendering import render
from injector.errors import (
    InjectorError,
    PluginCrashed,
    PluginKeepsCrashing,
    PluginStartFailed,
    PluginStartTimeout,
    RunFailed,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from injector.app.rendering import RenderReport, RenderRequest
    from injector.backends.contract import Outcome
    from injector.backends.registry import Registry
    from injector.model.references import Reference
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0
_TELL_EVERY = 10.0  # seconds of waiting between two lines that say so
# A plugin may come up a moment later; one that is missing, refused or not the locked one does not.
_PLUGIN_MAY_COME_UP = (PluginCrashed, PluginKeepsCrashing, PluginStartFailed, PluginStartTimeout)


def may_pass(error: InjectorError) -> bool:
    """Whether *error* may go away by itself; of several, whether every one of them may."""
    if isinstance(error, RunFailed):
        return all(map(may_pass, error.errors))
    return isinstance(error, (UnavailableError, *_PLUGIN_MAY_COME_UP))


async def render_until(
    request: RenderRequest, settings: Settings, *, environment: Mapping[str, str], log: Log
) -> RenderReport:
    """
    `rendering.render`, again and again while all that is wrong may go away by itself, until `settings.timeout` is up.

    All files are written or none. With the setting `handover` the values are left there for the sidecar; that this
    cannot be done is a line of the log. Raises what the last attempt raised; asyncio.CancelledError after SIGTERM, with
    everything cleaned up.
    """
    deadline = time.monotonic() + settings.timeout
    if sources.STDIN in request.inputs:  # read once, used by every attempt
        request = replace(request, stdin=sys.stdin.buffer.read())
    leaving = _Leaving.of(request, settings, environment, log)
    backends = registry(settings, environment, log, lasting=True)
    with cancelled_by_sigterm():
        try:
            attempt = 0
            while True:
                attempt += 1
                left = deadline - time.monotonic()
                began = time.monotonic()
                try:
                    async with only_writer(request.output_dir):
                        report = await render(
                            request,
                            replace(settings, timeout=max(left, 0.1)),
                            backends,
                            environment=environment,
                            log=log,
                            progress=_Telling(log),
                            on_values=leaving.note if leaving else None,
                        )
                except InjectorError as error:
                    pause = _pause(attempt)
                    if not may_pass(error) or time.monotonic() + pause >= deadline:
                        raise
                    _tell(log, error, attempt=attempt, pause=pause, left=deadline - time.monotonic())
                else:
                    if leaving:
                        await leaving.leave(backends, began=began)
                    return report
                await asyncio.sleep(pause)
        finally:
            await backends.close()
            log.redactor.clear()


class _Leaving:
    """What is left for the sidecar."""

    def __init__(self, directory: Path, scope: bytes, log: Log) -> None:
        self._directory = directory
        self._scope = scope
        self._log = log
        self._outcomes: Mapping[Reference, Outcome] = {}

    @classmethod
    def of(
        cls, request: RenderRequest, settings: Settings, environment: Mapping[str, str], log: Log
    ) -> _Leaving | None:
        """None when nothing is to be left. What an init before this one has left is gone afterwards."""
        if settings.handover is None:
            return None
        from injector.app import handover  # late: few are followed by a sidecar

        directory = handover.directory_of(settings.handover, request.output_dir)
        try:
            handover.clear(directory)
        except InjectorError as error:
            log.warning("an earlier hand-over stays", reason=error.message)
        return cls(directory, handover.scope(settings, request, environment), log)

    def note(self, outcomes: Mapping[Reference, Outcome]) -> None:
        self._outcomes = outcomes

    async def leave(self, backends: Registry, *, began: float) -> None:
        """Leaves the values, whose leases are the sidecar's from then on."""
        from injector.app import handover  # late: few are followed by a sidecar
        from injector.app.reconcile.handed import let_go

        try:
            left = handover.leave(self._directory, self._scope, self._outcomes, began=began)
        except InjectorError as error:
            self._log.warning("nothing is handed over, the sidecar asks the stores itself", reason=error.message)
            return
        await let_go(backends, left)
        self._log.info("values handed over to the sidecar", values=len(left))


class _Telling:
    """Progress as log lines: one every few seconds while values are waited for."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._next = time.monotonic() + _TELL_EVERY

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next and done < total:
            self._next = time.monotonic() + _TELL_EVERY
            self._log.info("waiting for values", answered=done, of=total)


def _pause(attempt: int) -> float:
    ceiling = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(attempt - 1, 10))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311  # jitter, no cryptography


def _tell(log: Log, error: InjectorError, *, attempt: int, pause: float, left: float) -> None:
    first = error.errors[0] if isinstance(error, RunFailed) else error
    log.warning(
        "not possible yet, trying again",
        reason=first.code,
        error=f"{first.place}: {first.message}" if first.place else first.message,
        errors=len(error.errors) if isinstance(error, RunFailed) else 1,
        attempt=attempt,
        pause=round(pause, 1),
        left=round(left),
    )
