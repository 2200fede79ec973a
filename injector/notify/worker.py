"""
One action and its changes: when it is carried out, and when again after a failure.

Changes are joined to a group until they settle. One run at a time; what changes meanwhile makes one further run. A
failed group waits for its retry, and a newer change takes it along at once: nothing piles up.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from injector.errors import NotifyError, NotifyFailed, NotifyPostponed
from injector.model.notification import NotificationStatus
from injector.notify.carry_out import Changes
from injector.telemetry.logs import Level
from injector.telemetry.traces import NO_TRACES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from injector.settings.actions import Action
    from injector.telemetry.logs import Log
    from injector.telemetry.meter import Meter
    from injector.telemetry.traces import Tracer
    from injector.telemetry.vitals import Vitals

_SECONDS_WITHOUT_TIMEOUT: Final = 10.0  # a signal is sent at once
_SECONDS_TO_END: Final = 15.0  # from an action's time-out until it must be over: SIGTERM, SIGKILL, reaping
_DOUBLINGS: Final = 16  # of the pause; more would only overflow
_LONGEST_WAIT: Final = 3600.0  # seconds; of what the other side may ask for


class Timing(Struct, frozen=True):
    """
    In seconds: see `Notifier` for the first three. The pause after the first failure is `pause_first` at most, doubles
    with each further one, and stays at `pause_most`; a random part of it, at least half, is waited.
    """

    debounce_min: float
    debounce_max: float
    splay: float = 0.0
    pause_first: float = 1.0
    pause_most: float = 60.0


class Worker:
    """
    Carries out `action` for the changes that it is told of, by *carry_out*, which raises NotifyError, at `timing`.

    *files* has the digest of every known file, by template and output; it is only read.
    """

    def __init__(
        self,
        action: Action,
        *,
        timing: Timing,
        carry_out: Callable[[Action, Changes], Awaitable[None]],
        files: Mapping[tuple[str, str], str],
        log: Log,
        meter: Meter,
        vitals: Vitals,
        tracer: Tracer = NO_TRACES,
    ) -> None:
        self.action = action
        self.timing = timing
        self._carry_out = carry_out
        self._files = files
        self._log = log
        self._meter = meter
        self._vitals = vitals
        self._tracer = tracer
        self._pending: dict[tuple[str, str], None] = {}
        self._wake = asyncio.Event()
        self._settled_at = self._latest_at = self._splayed = 0.0
        self._is_new = False  # something changed since the last attempt began
        self._retry_at = 0.0  # of the failed group; a newer change does not wait for it
        self._not_before = 0.0  # the other side asked for it; everything waits
        self._is_running = self._is_retired = False
        self._last_at: float | None = None
        self._failures = 0
        self._error: str | None = None

    def changed(self, template: str, output: str) -> None:
        """There is something to tell."""
        now = time.monotonic()
        if not self._is_new:
            self._is_new = True
            self._latest_at = now + self.timing.debounce_max
            self._splayed = random.uniform(0, self.timing.splay)  # noqa: S311  # no secret
        self._settled_at = now + self.timing.debounce_min
        self._pending[template, output] = None
        self._wake.set()

    def retire(self) -> None:
        """Starts nothing more; `run` ends as soon as nothing is under way."""
        self._is_retired = True
        self._wake.set()

    async def run(self) -> None:
        """Works until `retire`, or until it is cancelled, which breaks off what is under way."""
        while not self._is_retired:
            self._wake.clear()
            pause = self._due_at() - time.monotonic() if self._pending else None
            if pause is not None and pause <= 0:
                await self._attempt()
            else:
                # Not `wait_for`: before Python 3.12 it can swallow the cancellation that comes with the event.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()

    def status(self) -> NotificationStatus:
        """How it stands."""
        return NotificationStatus(
            name=self.action.name,
            kind=self.action.kind,
            last_at=self._last_at,
            failures=self._failures,
            error=self._error,
            waiting=bool(self._pending) or self._is_running,
        )

    def _due_at(self) -> float:
        due = min(self._settled_at, self._latest_at) + self._splayed if self._is_new else self._retry_at
        return max(due, self._not_before)

    async def _attempt(self) -> None:
        action, group, self._pending = self.action, self._pending, {}
        self._is_new, self._is_running = False, True
        began = time.monotonic()
        worker = f"notify {action.name}"
        within = getattr(action, "timeout", _SECONDS_WITHOUT_TIMEOUT) + _SECONDS_TO_END
        self._vitals.expect(worker, within=within)
        error: NotifyError | None = None
        try:
            with self._tracer.span("notify", notification=action.name, kind=action.kind, files=len(group)):
                await self._carry_out(action, self._changes(action, group))
        except NotifyError as caught:
            error = caught
        except Exception as caught:  # noqa: BLE001  # one action's fault must not end the notifications
            # Only its type: the text may hold what nobody knows.
            error = NotifyFailed(f"{action.name} failed unexpectedly: {type(caught).__name__}")
        finally:
            self._is_running = False
            self._vitals.forget(worker)
        if error is None:
            self._succeeded(action, group, time.monotonic() - began)
        else:
            self._pending = group | self._pending
            self._failed(action, error)

    def _changes(self, action: Action, group: Mapping[tuple[str, str], None]) -> Changes:
        covered = {key: digest for key, digest in self._files.items() if action.applies_to(key[0])}
        return Changes(
            templates=tuple(sorted({template for template, _ in group})),
            outputs=tuple(sorted({output for _, output in group})),
            digests=tuple(sorted((template, digest) for (template, _), digest in covered.items())),
        )

    def _succeeded(self, action: Action, group: Mapping[tuple[str, str], None], seconds: float) -> None:
        self._failures, self._error, self._last_at = 0, None, time.time()
        self._meter.notified(action.kind, "ok")
        self._say(Level.INFO, "notified", notification=action.name, files=len(group), seconds=round(seconds, 3))

    def _failed(self, action: Action, error: NotifyError) -> None:
        asked = min(error.retry_after or 0.0, _LONGEST_WAIT)
        now = time.monotonic()
        if isinstance(error, NotifyPostponed):
            self._not_before = now + asked
            self._say(Level.INFO, "notification postponed", notification=action.name, seconds=round(asked, 3))
            return
        self._failures += 1
        self._error = self._log.redactor.clean(error.message)
        pause = self.timing.pause_first * 2 ** min(self._failures - 1, _DOUBLINGS)
        pause = min(pause, self.timing.pause_most) * random.uniform(0.5, 1)  # noqa: S311  # no secret
        self._retry_at, self._not_before = now + pause, now + asked
        self._meter.notified(action.kind, "failed")
        self._say(
            Level.WARNING,
            "notification failed",
            notification=action.name,
            code=error.code,
            error=error.message,
            **({"hint": error.hint} if error.hint else {}),
            failures=self._failures,
            seconds_to_retry=round(max(pause, asked), 3),
        )

    def _say(self, level: Level, event: str, **fields: object) -> None:
        self._log.write(level, event, kind=self.action.kind, **fields)
