"""
What a process that handles secrets does at its start: no core dump, no debugger of the same user, no careless output.

Each step is tried by itself; where the system does not offer it, the rest still holds.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any

from injector.process.death_signal import prctl

if TYPE_CHECKING:
    import asyncio
    import threading
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Buffer

_PR_SET_DUMPABLE = 4


def harden() -> None:
    """
    Protects this process and its children for as long as they last. Call it before the first value is read.

    - No core dumps: RLIMIT_CORE 0, which children inherit (a child may raise it again), and not dumpable.
    - Not dumpable also means that processes of the same user can neither attach a debugger nor read /proc/PID/mem
      and environ; root can.
    - What nobody caught is told by type and place, never by its text, which may hold a value.
    """
    refuse_core_dumps()
    print_no_values()


def refuse_core_dumps() -> None:
    """Sets the soft limit, and PR_SET_DUMPABLE on Linux; an `exec` of another program resets the latter."""
    import resource  # late: start-up

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    control = prctl()
    if control is not None:
        control(_PR_SET_DUMPABLE, 0)


def print_no_values() -> None:
    """Replaces the hooks by which Python prints what nobody caught: main program, threads, finalizers."""
    import threading

    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


def watch_loop(loop: asyncio.AbstractEventLoop, tell: Callable[..., None]) -> None:
    """
    Makes *loop* tell of errors that nobody awaited by `tell("uncaught error", kind=…, where=…)`, without their texts.

    Without it asyncio logs the whole traceback.
    """

    def report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None:
            tell("uncaught error", kind="asyncio", where=str(context.get("message", "")).partition(":")[0])
        else:
            tell("uncaught error", kind=type(error).__qualname__, where=" < ".join(frames(error.__traceback__)))

    loop.set_exception_handler(report)


def frames(trace: TracebackType | None, most: int = 12) -> list[str]:
    """The innermost *most* frames, innermost first, as `file:line in function`: places in programs, never data."""
    import traceback  # late: only when something went wrong

    found = traceback.extract_tb(trace)[-most:]
    return [f"{os.path.relpath(frame.filename)}:{frame.lineno} in {frame.name}" for frame in reversed(found)]


def make_streams_safe() -> None:
    """
    Makes sure of descriptors 0 to 2, and that standard error never fails: a full disk or a reader that is gone costs
    what was to be told, not the work.

    A closed descriptor is opened on /dev/null: else the next file or socket would take its number, and whoever prints
    would write into it. A closed standard output stays one that cannot be written to.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)  # the lowest free number, which is this one
            os.set_inheritable(opened, True)  # noqa: FBT003  # takes no keyword
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    raw = _Forgiving(2, "w", closefd=False)
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )


class _Forgiving(io.FileIO):
    """Drops what it cannot write."""

    def write(self, data: Buffer) -> int:
        size = memoryview(data).nbytes
        try:
            return super().write(data) or size  # None: a pipe that takes nothing now
        except OSError:
            return size


def _uncaught(kind: type[BaseException], _: BaseException, trace: TracebackType | None) -> None:
    _print("uncaught error", kind, trace)


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    name = arguments.thread.name if arguments.thread else "a thread"
    if arguments.exc_type is not SystemExit:
        _print(f"uncaught error in {name}", arguments.exc_type, arguments.exc_traceback)


def _unraisable(arguments: Any) -> None:
    _print("ignored error", arguments.exc_type, arguments.exc_traceback)


def _print(what: str, kind: type[BaseException], trace: TracebackType | None) -> None:
    lines = [f"{what}: {kind.__qualname__}", *(f"  {frame}" for frame in frames(trace))]
    with contextlib.suppress(OSError, ValueError, AttributeError):  # standard error is closed or full
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()
