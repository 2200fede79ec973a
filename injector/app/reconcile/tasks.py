"""Tasks that somebody has begun and ends: none is left behind, and no failure is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Tasks:
    """Those under way. *ended* is called whenever one is over, in the event loop."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self.fault: BaseException | None = None  # what one of them raised: nothing may go on half
        self._ended = ended
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def begin(self, work: Coroutine[None, None, None]) -> None:
        """*work* goes on by itself."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    async def close(self, *, grace: float) -> None:
        """Cancels all; one that does not let itself be cancelled is left behind after *grace* seconds."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fault = error
        self._ended()
