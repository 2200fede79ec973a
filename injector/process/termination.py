"""
SIGTERM from the first moment on, as process 1 too, for which the kernel ignores a signal that has no handler.

Before there is an event loop the signal raises; while one is made, and work begins on it, it is noted, since an
exception there would tear the loop. The work's own handling takes over as soon as it runs, and asks `was_noted` then.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_noted: list[int] = []
_quiet = False


class Terminated(SystemExit):
    """The signal `signal` came before anything handled it in its own way."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = number


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """For the time of the context SIGTERM raises Terminated in the main thread, unless somebody handles it already."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _noted.clear()


@contextlib.contextmanager
def only_noted() -> Iterator[None]:
    """For the time of the context SIGTERM is noted and raises nothing: who works in it asks `was_noted`."""
    global _quiet  # what a signal's handler does is the process's, not a caller's
    _quiet = True
    try:
        yield
    finally:
        _quiet = False


def was_noted() -> bool:
    """Whether SIGTERM has come."""
    return bool(_noted)


def _terminate(number: int, _: object) -> None:
    _noted.append(number)
    if not _quiet:
        raise Terminated(number)
