"""
How our own children end, and which processes are ours.

A dead child stays a zombie until it is reaped by whoever spawned it, so that its number is nobody else's meanwhile.
`orphans` reaps what nobody here spawned, and leaves alone what is claimed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    import subprocess

_claimed: set[int] = set()


class ExitStatus(Struct, frozen=True):
    """How a process ended: `code` is its exit code, or minus the number of the signal that killed it."""

    code: int

    def __str__(self) -> str:
        if self.code >= 0:
            return f"exit code {self.code}"
        try:
            return f"killed by signal {signal.Signals(-self.code).name}"
        except ValueError:
            return f"killed by signal {-self.code}"

    @property
    def shell_code(self) -> int:
        """The exit code as a shell gives it: 128 and the signal's number for what a signal killed."""
        return self.code if self.code >= 0 else 128 - self.code


def claim(popen: subprocess.Popen[bytes]) -> None:
    """*popen* is ours from here on. To be called in the step of the event loop that started it."""
    _claimed.add(popen.pid)


def reap(popen: subprocess.Popen[bytes]) -> None:
    """Takes the exit status of a child that has ended (else it blocks), and gives its number back."""
    popen.wait()
    _claimed.discard(popen.pid)


def is_claimed(pid: int) -> bool:
    """Whether *pid* is a child whose exit status somebody here waits for."""
    return pid in _claimed


class ExitWatch:
    """Watches one claimed child from the running loop. `close` it; it does not reap."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[ExitStatus] = self._loop.create_future()
        self._pidfd = -1
        try:
            self._pidfd = os.pidfd_open(popen.pid)
        except (AttributeError, OSError):
            # No pidfd (not Linux, or a sandbox without it): a thread waits. It reaps, which the module's rule forbids;
            # there is no other portable way to wait.
            threading.Thread(target=self._wait_in_thread, daemon=True).start()
        else:
            self._loop.add_reader(self._pidfd, self._on_exit)

    @property
    def status(self) -> ExitStatus | None:
        """How it ended; None while it runs."""
        return self.exited.result() if self.exited.done() else None

    async def wait(self) -> ExitStatus:
        """Waits for the end of the process itself. May be awaited by many, and cancelled."""
        return await asyncio.shield(self.exited)

    def close(self) -> None:
        """Stops watching. May be called more than once."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        result = os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOWAIT)
        assert result is not None
        exited = result.si_code == os.CLD_EXITED
        self._set(result.si_status if exited else -result.si_status)

    def _wait_in_thread(self) -> None:
        code = self._popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._set, code)

    def _set(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(ExitStatus(code))
