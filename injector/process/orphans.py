"""
What process 1 owes: children of others that lost their parent come to it, and are zombies until it reaps them.

So do those of a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER). Only what nobody here has claimed is reaped: the exit
status of our own children belongs to whoever spawned them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from injector.process.exits import is_claimed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PR_GET_CHILD_SUBREAPER = 37
_LOOK_AGAIN = 1.0  # seconds: a list of children that is read while it changes may lack one


@contextlib.contextmanager
def reaping(on_child: Callable[[], None] | None = None) -> Iterator[None]:
    """
    For the time of the context orphans that come to this process are reaped, if any do: process 1, or a subreaper.

    *on_child* is called after each SIGCHLD. To be entered on the running loop of the main thread.
    """
    adopts = os.getpid() == 1 or _is_subreaper()
    if not adopts and on_child is None:
        yield
        return
    loop = asyncio.get_running_loop()
    again: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal again
        if on_child is not None:
            on_child()
        if adopts:
            reap_orphans()
            if again is not None:
                again.cancel()
            again = loop.call_later(_LOOK_AGAIN, reap_orphans)

    loop.add_signal_handler(signal.SIGCHLD, look)
    try:
        look()
        yield
    finally:
        loop.remove_signal_handler(signal.SIGCHLD)
        if again is not None:
            again.cancel()


def reap_orphans() -> int:
    """Reaps every child that has ended and that nobody claims; how many those were."""
    reaped = 0
    for pid in _children():
        if not is_claimed(pid):
            with contextlib.suppress(ChildProcessError):
                reaped += os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None
    return reaped


def _children() -> Iterator[int]:
    tasks = Path("/proc/self/task")
    try:
        names = [name for task in tasks.iterdir() for name in (task / "children").read_text().split()]
    except OSError:
        yield from _children_by_parent()  # a kernel without CONFIG_PROC_CHILDREN, or a thread that ended meanwhile
    else:
        yield from map(int, names)


def _children_by_parent() -> Iterator[int]:
    with contextlib.suppress(FileNotFoundError):
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                # The name in parentheses may hold blanks and parentheses itself: fields count from the last one.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == os.getpid():
                    yield int(entry.name)


def _is_subreaper() -> bool:
    if sys.platform != "linux":
        return False
    import ctypes  # late: start-up

    answer = ctypes.c_int(0)
    try:
        failed = ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    except (OSError, AttributeError):
        return False
    return not failed and bool(answer.value)
