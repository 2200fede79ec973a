"""Looking at the sidecar: one question at a time, however many pages are open."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from injector.errors import InjectorError, NoAnswer
from injector.notify.threads import in_thread
from injector.process.hardening import frames
from injector.web.answers import told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from injector.telemetry.logs import Log
    from injector.web.sources import SidecarSource

FRESH: Final = 0.25
"""Seconds for which an answer stands for the next ones."""


class Look(Struct, frozen=True):
    """What was seen `at` (seconds since the epoch): `status`, or the `error` for the page."""

    at: float
    status: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None


class SidecarView:
    """The sidecar of *source*, or none. All methods are called in one event loop."""

    def __init__(self, source: SidecarSource | None, log: Log) -> None:
        self._source = source
        self._log = log
        self._last: Look | None = None
        self._last_seen = 0.0
        self._looking: asyncio.Task[Look] | None = None
        self._refreshing: asyncio.Task[Mapping[str, Any]] | None = None

    @property
    def is_configured(self) -> bool:
        """Whether there is a sidecar to look at."""
        return self._source is not None

    @property
    def control(self) -> str | None:
        """The path of its control socket."""
        return str(self._source.control) if self._source is not None else None

    async def look(self) -> Look:
        """What the sidecar tells; several that ask at once share one answer. Raises nothing of the sidecar's."""
        if self._last is not None and time.monotonic() - self._last_seen < FRESH:
            return self._last
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._looking)

    async def refresh(self) -> Mapping[str, Any]:
        """One pass; several that ask at once share it, and it goes on when they leave. Raises InjectorError."""
        if self._source is None:
            raise NoAnswer("there is no sidecar to ask", hint="start injector ui with --control")
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(in_thread(self._source.refresh))
            self._refreshing.add_done_callback(_look_at)
        try:
            return await asyncio.shield(self._refreshing)
        finally:
            self._last = None  # what was seen before it, tells of the time before it

    async def _ask(self) -> Look:
        assert self._source is not None
        try:
            status = await in_thread(self._source.status)
        except InjectorError as error:
            look = Look(time.time(), error=told(error, self._log.redactor.clean))
        except Exception as error:  # noqa: BLE001  # a fault of ours ends no page, and no history
            where = " < ".join(frames(error.__traceback__))
            self._log.error("looking at the sidecar failed", kind=type(error).__qualname__, where=where)
            defect = NoAnswer("the sidecar's answer cannot be read: a fault of injector", hint="please report it")
            look = Look(time.time(), error=told(defect, self._log.redactor.clean))
        else:
            look = Look(time.time(), status=status)
        self._last, self._last_seen = look, time.monotonic()
        return look


def _look_at(task: asyncio.Task[Mapping[str, Any]]) -> None:
    """Whoever asked may have left; nobody is to be told of an error then."""
    if not task.cancelled():
        task.exception()
