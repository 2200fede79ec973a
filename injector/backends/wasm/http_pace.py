"""How soon a plugin asks again, and how long it waits, when it says so itself."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from injector.errors import Throttled

if TYPE_CHECKING:
    from collections.abc import Callable

_NAP: Final = 0.05  # seconds: how soon a request that waits notices that its call was cancelled


class Pace:
    """
    When the requests of one connection's plugin go out: evenly, whichever of its instances asks. Any thread may wait.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0.0  # of the monotonic clock

    def wait(self, rate: float, left: Callable[[], float]) -> None:
        """
        Returns when a request may go out, with at most *rate* of them a second.

        *left* gives the seconds that the call has left; it may raise. Raises Throttled, at once, when that is not
        enough.
        """
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            if turn - now > left():
                raise Throttled(
                    f"its own rate limit of {rate:g} requests a second leaves no time for this one",
                    hint="raise the plugin's rate_limit, or plugins.callTimeout",
                    retry_after=turn - now,
                )
            self._next = turn + 1 / rate
        while (pause := turn - time.monotonic()) > 0:
            left()
            time.sleep(min(pause, _NAP))


def within(seconds: float, left: Callable[[], float]) -> Callable[[], float]:
    """*left*, and no more than *seconds* from now."""
    until = time.monotonic() + seconds
    return lambda: max(0.0, min(left(), until - time.monotonic()))
