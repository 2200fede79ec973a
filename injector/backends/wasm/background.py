"""Work that cannot be interrupted, such as compiling."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


async def in_background(work: Callable[[], _T]) -> _T:
    """
    What *work* gives or raises, done by a thread of its own.

    When this is cancelled the thread goes on, and neither the event loop's end nor the process's waits for it: that is
    what `asyncio.to_thread` would do.
    """
    future: Future[_T] = Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
            future.set_exception(error)

    threading.Thread(target=run, name="wasm-compile", daemon=True).start()
    return await asyncio.wrap_future(future)
