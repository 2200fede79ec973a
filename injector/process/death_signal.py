"""
A child that dies with us, whatever kills us: Linux's parent-death signal.

`PR_SET_PDEATHSIG` (prctl(2)) makes the kernel send a signal to the child when the **thread** that forked it ends.
Spawn from a thread that lasts: the event loop's. Other systems have nothing like it; there a killed host leaves its
children behind, as every go-plugin host does.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_ORPHANED = 127


@functools.cache
def prctl() -> Callable[[int, int], int] | None:
    """Linux's prctl(2) with one argument; None where there is none."""
    if sys.platform != "linux":
        return None
    import ctypes  # late: start-up

    try:
        function = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_ulong]
    function.restype = ctypes.c_int
    return function


def bind_to_parent(death: signal.Signals = signal.SIGKILL) -> Callable[[], None] | None:
    """
    What the child has to run between fork and exec, or None where the system cannot do it. It gets *death* then.

    Everything is looked up here, in the parent: after the fork of a process with threads, an import or a lock that
    another thread holds would hang the child.
    """
    control = prctl()
    if control is None:
        return None
    parent, getppid, leave = os.getpid(), os.getppid, _leave
    kill = int(death)

    def in_child() -> None:
        control(_PR_SET_PDEATHSIG, kill)
        # The parent may have died before the call: then nobody will ever send the signal.
        if getppid() != parent:
            leave(_ORPHANED)

    return in_child


def _leave(status: int) -> NoReturn:
    os._exit(status)
