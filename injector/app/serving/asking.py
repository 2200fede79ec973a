"""Asks the program's event loop from the thread of a server."""

from __future__ import annotations

import asyncio
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

    async def call() -> T:
        return ask()

    question = call()
    try:
        answer = asyncio.run_coroutine_threadsafe(question, loop)
    except RuntimeError:  # the loop is closed
        question.close()
        raise Unanswered from None
    try:
        async with asyncio.timeout(within):
            return await asyncio.wrap_future(answer)
    except TimeoutError:
        raise Unanswered from None
