"""Who has completed work, and when: what `/livez` is true by."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable


class Overdue(Struct, frozen=True):
    """A worker that has not completed its work in time. `seconds` since it last did, `within` what it has."""

    worker: str
    seconds: float
    within: float


class Vitals:
    """
    Workers register with the time that their work may take, and report each completed piece of it.

    A report means "I have done what I am for", never "I am still here": a timer beside the work must not make it. Safe
    to use from any thread. *clock* gives seconds and never jumps.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._workers: dict[str, tuple[float, float]] = {}  # name to (within, last completed)

    def expect(self, worker: str, *, within: float) -> None:
        """From now on *worker* completes something every *within* seconds. Said again, it begins anew."""
        with self._lock:
            self._workers[worker] = (within, self._clock())

    def completed(self, worker: str) -> None:
        """*worker* has completed a piece of its work. Ignored for one that is not expected."""
        with self._lock:
            if worker in self._workers:
                self._workers[worker] = (self._workers[worker][0], self._clock())

    def forget(self, worker: str) -> None:
        """*worker* ended on purpose."""
        with self._lock:
            self._workers.pop(worker, None)

    def ages(self) -> dict[str, float]:
        """Seconds since each worker last completed something."""
        with self._lock:
            now = self._clock()
            return {worker: now - last for worker, (_, last) in self._workers.items()}

    def overdue(self) -> tuple[Overdue, ...]:
        """The workers that are late; empty when all is well."""
        with self._lock:
            now = self._clock()
            return tuple(
                Overdue(worker, now - last, within)
                for worker, (within, last) in self._workers.items()
                if now - last > within
            )
