"""
Finds the processes that a signal is for, and sends it to just these.

A PID is only a number that may belong to another process a moment later. So each process is held by a pidfd first, then
looked at, then signalled through that pidfd: one that was looked at is the one that is hit, or nobody is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from injector.errors import NotifyDenied, NotifyFailed, NotifyNoProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from injector.settings.actions import SignalAction

_PROC: Final = Path("/proc")
_LARGEST_PID_FILE: Final = 64  # bytes; some daemons write more lines, none more digits
_HIGHEST_PID: Final = 2**22  # of Linux
_CLOCK_SLACK: Final = 2.0  # seconds between the clock of a file system and that of the process table
_SHARE_HINT: Final = "another container's processes are seen only with shareProcessNamespace: true in the pod"
_DENIED_HINT: Final = (
    "run both containers as the same user (runAsUser), with shareProcessNamespace: true, or give this one the "
    "capability KILL"
)


class _Process(Struct, frozen=True):
    """One entry of the process table; `started` is in clock ticks since boot and never changes for a process."""

    pid: int
    parent: int
    state: str
    command: str
    started: int


def send(action: SignalAction) -> int:
    """
    Sends the signal; returns to how many processes.

    Raises:
        NotifyNoProcess: there is none, it ended, or the PID file is not about it.
        NotifyDenied: it belongs to somebody else.
        NotifyFailed: the PID file cannot be read or holds something else.
    """
    if action.process:
        return _send_by_name(action)
    if action.pid_file is not None:
        pid, written_at = _read_pid_file(action.pid_file)
        if pid == 1:
            raise NotifyNoProcess(
                f"the PID file {action.pid_file} names process 1, which is hardly the application",
                hint="was it written in another PID namespace? use 'process: NAME', or 'pid: 1' if it is really meant",
            )
        whence = f"the PID file {action.pid_file} names"
        _send_to(action, pid, whence, written_at=written_at)
    else:
        assert action.pid is not None
        _send_to(action, action.pid, "the settings name")
    return 1


def _send_by_name(action: SignalAction) -> int:
    table = {process.pid: process for process in _processes()}
    if not table:
        raise NotifyFailed("the processes cannot be listed: /proc is not there")
    found = [
        process
        for process in table.values()
        if process.pid != 1
        and process.state not in "ZX"
        and _is_called(process, action.process)
        and not _descends(process, os.getpid(), table)
    ]
    sent, denied = 0, False
    for process in found:
        with contextlib.suppress(ProcessLookupError):
            try:
                sent += _signal(process.pid, action.signal, expected=process)
            except PermissionError:
                denied = True
    if denied:
        raise _denied(action, f"processes called {action.process}")
    if not sent:
        raise NotifyNoProcess(f"there is no process called {action.process}", hint=_SHARE_HINT)
    return sent


def _send_to(action: SignalAction, pid: int, whence: str, *, written_at: float | None = None) -> None:
    gone = NotifyNoProcess(f"{whence} process {pid}, which does not run", hint=_SHARE_HINT)
    if pid == os.getpid():
        raise NotifyNoProcess(f"{whence} process {pid}, which is injector itself")
    process = _process(pid)
    if process is not None and process.state in "ZX":
        raise gone
    if process is not None and written_at is not None and _started_at(process) > written_at + _CLOCK_SLACK:
        raise NotifyNoProcess(
            f"{whence} process {pid}, which started after the file was written: the number was given away again",
            hint="the application did not remove its PID file, or has not written its new one yet",
        )
    try:
        sent = _signal(pid, action.signal, expected=process)
    except ProcessLookupError:
        raise gone from None
    except PermissionError:
        raise _denied(action, f"process {pid}") from None
    if not sent:
        raise gone


def _denied(action: SignalAction, target: str) -> NotifyDenied:
    return NotifyDenied(f"{action.signal_name} may not be sent to {target}", hint=_DENIED_HINT)


def _signal(pid: int, number: int, *, expected: _Process | None) -> bool:
    """
    Whether the signal was sent: not if *pid* is another process than *expected* by then. Without a process table
    (None) the number is trusted.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except (AttributeError, OSError) as error:
        if isinstance(error, ProcessLookupError):
            raise
        # No pidfd here (an old kernel, a sandbox): a short moment between look and signal is left.
        if not _is_still(pid, expected):
            return False
        os.kill(pid, number)
        return True
    try:
        if not _is_still(pid, expected):
            return False
        signal.pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)
    return True


def _is_still(pid: int, expected: _Process | None) -> bool:
    if expected is None:
        return True
    current = _process(pid)
    return current is not None and current.started == expected.started and current.state not in "ZX"


def _read_pid_file(path: Path) -> tuple[int, float]:
    """The PID in the file, and when it was written (epoch seconds)."""
    try:
        # A FIFO in its place must not block us.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise NotifyFailed(f"the PID file {path} is not a regular file")
            content = os.read(descriptor, _LARGEST_PID_FILE)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise NotifyNoProcess(
            f"the PID file {path} does not exist", hint="does the application run, and write it there?"
        ) from None
    except OSError as error:
        kind = NotifyDenied if error.errno in {errno.EACCES, errno.EPERM} else NotifyFailed
        raise kind(f"the PID file {path} cannot be read: {error.strerror}") from None
    first = content.split(b"\n", 1)[0].strip()
    if not (first.isdigit() and 0 < int(first) <= _HIGHEST_PID):
        raise NotifyFailed(f"the PID file {path} does not start with a process number")
    return int(first), facts.st_mtime


def _processes() -> Iterator[_Process]:
    try:
        names = [entry.name for entry in _PROC.iterdir()]
    except OSError:
        return
    for name in names:
        if name.isdigit() and (process := _process(int(name))) is not None:
            yield process


def _process(pid: int) -> _Process | None:
    """None when there is no such process, or no process table."""
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # The command may hold blanks and parentheses: it ends at the last one.
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    try:
        return _Process(
            pid=pid,
            parent=int(fields[1]),
            state=fields[0],
            command=head.partition("(")[2],
            started=int(fields[19]),
        )
    except (IndexError, ValueError):
        return None


def _is_called(process: _Process, name: str) -> bool:
    if process.command == name:
        return True
    try:
        first = (_PROC / str(process.pid) / "cmdline").read_bytes().split(b"\0", 1)[0]
    except OSError:
        return False
    return first.rpartition(b"/")[2] == os.fsencode(name)


def _descends(process: _Process, ancestor: int, table: dict[int, _Process]) -> bool:
    seen: set[int] = set()
    pid = process.pid
    while pid in table and pid not in seen:
        if pid == ancestor:
            return True
        seen.add(pid)
        pid = table[pid].parent
    return False


def _started_at(process: _Process) -> float:
    """When it started, in epoch seconds by today's clock."""
    since_boot = process.started / os.sysconf("SC_CLK_TCK")
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
