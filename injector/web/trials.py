"""Tests of connections: each starts a plugin, which must be ended whatever becomes of the request or of us."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from injector.errors import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

_MOST: Final = 2  # at the same time


class Trials:
    """Runs tests in tasks of their own, a few at a time; `close` ends those under way."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_MOST)
        self._tasks: set[asyncio.Task[Mapping[str, Any]]] = set()

    async def run(self, trial: Coroutine[Any, Any, Mapping[str, Any]]) -> Mapping[str, Any]:
        """What *trial* gives, or its error; it goes on when whoever asked leaves. NoAnswer when it was ended."""
        task = asyncio.create_task(self._in_turn(trial))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise  # it is we who are cancelled
            raise NoAnswer("injector ui was ended") from None

    async def close(self) -> None:
        """Ends every test, and waits until its plugin has gone."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _in_turn(self, trial: Coroutine[Any, Any, Mapping[str, Any]]) -> Mapping[str, Any]:
        try:
            async with self._places:
                return await trial
        finally:
            trial.close()  # one that was ended before its turn

    def _done(self, task: asyncio.Task[Mapping[str, Any]]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may have left; nobody is to be told of it then
