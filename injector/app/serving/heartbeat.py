"""The event loop as a worker of its own: what it is for is to turn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from injector.telemetry.vitals import Vitals

WORKER: Final = "event loop"
_EVERY: Final = 1.0


class LoopHeartbeat:
    """
    Reports each second that the running loop turns, for as long as it does.

    It vouches for the loop alone. Workers report what they complete themselves; this timer never does it for them.
    """

    def __init__(self, vitals: Vitals, *, within: float) -> None:
        self._vitals = vitals
        self._within = within
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Call it in the loop that is to be watched."""
        self._vitals.expect(WORKER, within=self._within)
        self._beat()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._vitals.forget(WORKER)

    def _beat(self) -> None:
        self._vitals.completed(WORKER)
        self._handle = asyncio.get_running_loop().call_later(_EVERY, self._beat)
