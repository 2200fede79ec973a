"""Calls into the event loop from any thread, also before it runs."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Asking:
    """Keeps calls until there is a loop, and hands them to it from then on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: list[Callable[[], None]] = []

    def ask(self, function: Callable[[], None]) -> None:
        """*function* is called in the loop; never, when that has ended."""
        with self._lock:
            if self._loop is None:
                self._asked.append(function)
            else:
                self._loop.call_soon_threadsafe(function)

    def open(self) -> None:
        """Makes the calls that were kept, in the running loop, which takes them from now on."""
        with self._lock:
            self._loop = asyncio.get_running_loop()
            asked, self._asked = self._asked, []
        for function in asked:
            function()

    def close(self) -> None:
        """The loop takes none any more."""
        with self._lock:
            self._loop = None
