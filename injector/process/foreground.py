"""
A command that stands where we stand: our standard streams, our terminal, signals passed on, its exit code ours.

Under a shell with job control (a controlling terminal, and somebody else leads the session) the command stays in our
process group: Ctrl-C, Ctrl-Z, `fg` and `bg` of that shell reach both of us, and a pipeline stays one job. Everywhere
else, in a container first of all, it leads a group of its own, so that what it started goes with it; when we lead the
terminal's session (`docker run -t`), that group gets the terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import subprocess
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from injector.errors import CommandNotExecutable, CommandNotFound
from injector.process.death_signal import bind_to_parent
from injector.process.exits import ExitStatus, ExitWatch, claim, reap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_UNKILLABLE_AFTER = 5.0
_STANDARD_INPUT = 0
_KEYS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH)
FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGCONT,
    signal.SIGTSTP,
)
"""What is passed on to a command in a process group of its own."""


def find_program(name: str, path: str | None) -> str:
    """
    The file that *name* means, looked up in *path* (as PATH; None for the system's default) as a shell does.

    Raises CommandNotFound, CommandNotExecutable.
    """
    if "/" not in name:
        found = shutil.which(name, path=os.defpath if path is None else path) if name else None
        if found is None:
            raise CommandNotFound(f"the command {name} is not on PATH", hint="check its name, or give its path")
        return found
    if not os.path.lexists(name):
        raise CommandNotFound(f"the command {name} does not exist", hint="check its path")
    if Path(name).is_dir() or not os.access(name, os.X_OK):
        raise CommandNotExecutable(f"the command {name} is not executable", hint="chmod +x, if it is a program")
    return name


def refusal(error: OSError, name: str, environment: Mapping[str, str]) -> CommandNotFound | CommandNotExecutable:
    """Why the kernel did not run the command *name*, in the words of its exit code."""
    if error.errno == errno.ENOENT:
        return CommandNotFound(
            f"the command {name} cannot be run: its interpreter or loader does not exist",
            hint="check its first line (#!), or whether it is made for this system",
        )
    if error.errno == errno.E2BIG:
        largest = max(environment, key=lambda variable: len(os.fsencode(environment[variable])), default="")
        size = len(os.fsencode(environment.get(largest, "")))
        return CommandNotExecutable(
            f"the command {name} cannot be run: arguments and environment are too large for the kernel "
            f"(the largest variable, {largest}, has {size} bytes)",
            hint="one variable takes at most 128 KiB; write large values to files instead",
        )
    if error.errno == errno.ENOEXEC:
        return CommandNotExecutable(
            f"the command {name} is no program for this machine", hint="a script needs a first line such as #!/bin/sh"
        )
    return CommandNotExecutable(f"the command {name} cannot be run: {os.strerror(error.errno or 0)}")


def is_in_job() -> bool:
    """Whether a shell above us does job control on our terminal."""
    return _has_terminal() and os.getsid(0) != os.getpid()


class ForegroundProcess:
    """The command. Made by `start`; give it back with `stop`, also when it is dead."""

    def __init__(self, popen: subprocess.Popen[bytes], *, leads_group: bool) -> None:
        self._popen = popen
        self._leads_group = leads_group
        self._watch = ExitWatch(popen)
        self.pid: int = popen.pid

    @property
    def exit_status(self) -> ExitStatus | None:
        """How it ended; None while it runs."""
        return self._watch.status

    async def wait(self) -> ExitStatus:
        """Waits until the command itself has ended, whatever it started. May be awaited by many, and cancelled."""
        return await self._watch.wait()

    def pass_on(self, number: signal.Signals) -> None:
        """
        A signal that came to us goes to the command.

        Not so, in one process group, for those that a terminal sends to the whole of it: it has them already.
        """
        if self._leads_group or number not in _KEYS:
            self.send(number)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the command itself, if it still runs."""
        if self._popen.returncode is None and self.exit_status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)

    def unfreeze(self) -> None:
        """
        Continues a command that Ctrl-Z stopped where nobody could continue it: we lead the session, no shell does.

        To be called after SIGCHLD.
        """
        if not self._leads_group or self.exit_status is not None or not _has_terminal():
            return
        with contextlib.suppress(ChildProcessError):
            stopped = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG)
            if stopped is not None and stopped.si_status == signal.SIGTSTP:
                os.killpg(self.pid, signal.SIGCONT)

    async def stop(self, grace: float) -> ExitStatus | None:
        """
        SIGTERM, *grace* seconds, SIGKILL; reaps it. Of a group of its own nothing is left.

        Returns how it ended; None when the kernel would not let go of it within 5 s after SIGKILL.
        """
        try:
            if self.exit_status is None and grace > 0:
                self.send(signal.SIGTERM)
                self.send(signal.SIGCONT)  # stopped, it would not hear
                await asyncio.wait((self._watch.exited,), timeout=grace)
        finally:
            self._kill()
            await asyncio.wait((self._watch.exited,), timeout=_UNKILLABLE_AFTER)
            if self.exit_status is not None:
                reap(self._popen)
            self._watch.close()
        return self.exit_status

    def _kill(self) -> None:
        if self._popen.returncode is not None:
            return  # reaped: the number may be somebody else's
        with contextlib.suppress(ProcessLookupError, PermissionError):
            (os.killpg if self._leads_group else os.kill)(self.pid, signal.SIGKILL)


def start(argv: Sequence[str], *, program: str, env: Mapping[str, str]) -> ForegroundProcess:
    """
    Starts *program* as *argv* with our standard streams, and with *env* as its whole environment.

    On Linux it gets SIGTERM when the calling thread ends: call from the thread of a loop that lasts.

    Raises CommandNotFound or CommandNotExecutable when the kernel does not run it.
    """
    leads_group = not is_in_job()
    prepare = _preparation(gets_terminal=leads_group and _has_terminal())
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork beside threads: `prepare` takes no lock and imports nothing.
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=r".*fork")
        try:
            popen = subprocess.Popen(  # noqa: S603  # argv is a list, no shell
                list(argv),
                executable=program,
                env=dict(env),
                process_group=0 if leads_group else None,
                preexec_fn=prepare,  # noqa: PLW1509  # death signal and terminal cannot be set otherwise
            )
        except OSError as error:
            raise refusal(error, argv[0], env) from None
    claim(popen)
    return ForegroundProcess(popen, leads_group=leads_group)


def replace(argv: Sequence[str], *, program: str, env: Mapping[str, str]) -> None:
    """
    Becomes *program*: execve(2). Returns only by an exception, CommandNotFound or CommandNotExecutable.

    Signals that Python ignores get their default back, as for any started program.
    """
    for number in (signal.SIGPIPE, getattr(signal, "SIGXFSZ", None)):
        if number is not None:
            signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(program, list(argv), dict(env))  # noqa: S606  # no shell
    except OSError as error:
        raise refusal(error, argv[0], env) from None


def _preparation(*, gets_terminal: bool) -> Callable[[], None] | None:
    bind = bind_to_parent(signal.SIGTERM)
    if not gets_terminal:
        return bind
    take, mask, own, suppress = os.tcsetpgrp, signal.pthread_sigmask, os.getpid, contextlib.suppress
    block, restore, quietly = signal.SIG_BLOCK, signal.SIG_SETMASK, frozenset({signal.SIGTTOU})

    def in_child() -> None:
        if bind is not None:
            bind()
        # A group in the background that takes the terminal is stopped for it, unless the signal is blocked.
        before = mask(block, quietly)
        with suppress(OSError):  # standard input is no terminal
            take(_STANDARD_INPUT, own())
        mask(restore, before)

    return in_child


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
