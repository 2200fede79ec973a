"""Asks the program's event loop from the thread of a server."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Unanswered(Exception):
    """The program's loop is busy, or has ended."""


async def on_loop(loop: asyncio.AbstractEventLoop | None, ask: Callable[[], T], *, within: float) -> T:
    """
    What *ask* gives, called in *loop*; without one it is called here.

    Raises Unanswered when there is no answer in *within* seconds, and what *ask* raises.
    """
    if loop is None:
        return ask()

    answer: concurrent.futures.Future[T] = concurrent.futures.Future()

    def call() -> None:
        if not answer.set_running_or_notify_cancel():
            return  # nobody waits any more
        try:
            answer.set_result(ask())
        except Exception as error:  # noqa: BLE001  # it is raised where the answer is waited for
            answer.set_exception(error)

    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:  # the loop is closed
        raise Unanswered from None
    try:
        async with asyncio.timeout(within):
            return await asyncio.wrap_future(answer)
    except TimeoutError:
        raise Unanswered from None
