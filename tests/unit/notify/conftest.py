"""A notifier that runs, and what it said."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from injector.notify.notifier import Notifier
from injector.settings.actions import Action, numbered
from injector.telemetry.logs import Level, Log
from injector.telemetry.meter import Meter
from injector.telemetry.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

DEADLINE = 60.0


class CountingMeter(Meter):
    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def notified(self, kind: str, result: str) -> None:
        self.counts[kind, result] += 1


class Running:
    """A notifier, its log, its counts."""

    def __init__(self, *actions: Action, **options: object) -> None:
        self.stream = io.StringIO()
        self.log = Log(Level.DEBUG, stream=self.stream)
        self.meter = CountingMeter()
        self.vitals = Vitals()
        given = {"debounce_min": 0.05, "debounce_max": 5.0, "splay": None, "environment": dict(os.environ)} | options
        self.notifier = Notifier(numbered(actions), log=self.log, meter=self.meter, vitals=self.vitals, **given)
        self.task = asyncio.ensure_future(self.notifier.run())

    @property
    def status(self):
        return self.notifier.status()[0]

    async def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert not self.task.done(), self.task.exception()
            assert time.monotonic() < deadline, self.stream.getvalue()
            await asyncio.sleep(0.02)

    async def until_told(self) -> None:
        """Nothing is left to tell."""
        await self.until(lambda: not any(status.waiting for status in self.notifier.status()))


@pytest.fixture
async def running() -> AsyncIterator[Callable[..., Running]]:
    all_of_them: list[Running] = []

    def start(*actions: Action, **options: object) -> Running:
        all_of_them.append(Running(*actions, **options))
        return all_of_them[-1]

    yield start
    for one in all_of_them:
        one.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await one.task
