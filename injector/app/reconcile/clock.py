"""Time for the reconcile loop: one that never jumps to decide by, and the calendar's to tell people."""

from __future__ import annotations

import asyncio
import contextlib
import time


class Clock:
    """The machine's. A test has another one with these methods."""

    def now(self) -> float:
        """Monotonic seconds: what every decision is made by."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch: told, never decided by, since it jumps."""
        return time.time()

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        """Returns when *event* is set, or `now` has come to *until*."""
        if until is None:
            await event.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - self.now())):
                await event.wait()
