"""A thread for work that may block: a file system that hangs must not hold up the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.telemetry.vitals import Vitals

T = TypeVar("T")


class Worker:
    """
    Does one piece of work after the other, in a thread that begins with the first.

    While there is work, *vitals* expects a completed piece every *within* seconds. The thread is a daemon: when a piece
    never ends, the process can. Used from one event loop.
    """

    def __init__(self, name: str, vitals: Vitals, *, within: float) -> None:
        self.within = within
        self._name = name
        self._vitals = vitals
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._ended: asyncio.Future[None] | None = None
        self._closed = False

    async def call(self, function: Callable[[], T]) -> T:
        """What *function* gives or raises, called in the thread. Cancelled, it is left alone to its end."""
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()  # spans of the work are inside of the caller's
        self._start(loop)
        future: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            if self._closed:
                return
            try:
                result = context.run(function)
            except BaseException as error:  # noqa: BLE001  # it is raised to who waits for it
                _tell(loop, self._failed, future, error)
            else:
                _tell(loop, self._done, future, result)

        if self._waiting == 0:
            self._vitals.expect(self._name, within=self.within)
        self._waiting += 1
        self._queue.put(work)
        return await future

    async def close(self, *, grace: float) -> None:
        """Lets the piece under way end, for *grace* seconds at most; what waits is not begun."""
        self._closed = True
        self._vitals.forget(self._name)
        if self._ended is not None:
            self._queue.put(None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await asyncio.shield(self._ended)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._ended is not None:
            return
        ended = self._ended = loop.create_future()

        def run() -> None:
            while (work := self._queue.get()) is not None:
                work()
                del work  # an idle thread holds on to nothing that it rendered
            _tell(loop, _settle, ended, None)

        threading.Thread(target=run, name=f"injector-{self._name}", daemon=True).start()

    def _done(self, future: asyncio.Future[T], result: T) -> None:
        self._completed()
        _settle(future, result)

    def _failed(self, future: asyncio.Future[T], error: BaseException) -> None:
        self._completed()
        if not future.done():
            future.set_exception(error)

    def _completed(self) -> None:
        self._waiting -= 1
        if self._waiting:
            self._vitals.completed(self._name)
        else:
            self._vitals.forget(self._name)


def _settle(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(function, *arguments)
