"""
SIGTERM from the first moment on, as process 1 too, for which the kernel ignores a signal that has no handler.

The event loop's own handling takes over as soon as there is a loop.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def _terminate(number: int, _: object) -> NoReturn:
    raise Terminated(number)
