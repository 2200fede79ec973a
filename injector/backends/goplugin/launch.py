"""
One plugin process from its start to its handshake, and what it prints for as long as it lives.

Both its pipes are read until their end, whatever is done with the lines: a plugin that nobody reads blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from pathlib import Path
from typing import TYPE_CHECKING

from injector.backends.discovery import Kind
from injector.backends.executables import this_platform
from injector.backends.goplugin.handshake import Handshake, HandshakeScanner
from injector.backends.goplugin.hclog import PluginLog
from injector.backends.goplugin.running import RunningProcess
from injector.backends.program_file import ProgramFile, refused, unreadable
from injector.errors import HandshakeFailed, PluginError, PluginStartFailed
from injector.process.child import spawn
from injector.telemetry.logs import Level

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Mapping, Sequence

    from injector.backends.discovery import Candidate
    from injector.process.child import ChildProcess
    from injector.telemetry.logs import Log

_CHUNK = 64 * 1024
# After a process has ended its last words are in the pipe already; only a child of it keeps the pipe from its end.
_LAST_WORDS_WITHIN = 0.5
_PAUSE_AFTER = 256 * 1024  # bytes of output in a row, after which other tasks have their turn


class PluginProcess(RunningProcess["ChildProcess"]):
    """A started plugin program. `handshake` gives its handshake; `stop` ends it."""

    is_ours = True

    def __init__(self, name: str, child: ChildProcess, log: Log, plugin: str, versions: Collection[int]) -> None:
        super().__init__(name, child, log, plugin)
        self._errors = PluginLog(log, plugin=plugin, stream="stderr")
        self._output = PluginLog(log, plugin=plugin, stream="stdout", plain=Level.INFO)
        self._scanner = HandshakeScanner(versions=versions)
        self._handshake: asyncio.Future[Handshake | None] = asyncio.get_running_loop().create_future()
        self._readers = (asyncio.create_task(self._read_output()), asyncio.create_task(self._read_errors()))

    @classmethod
    async def launch(
        cls, candidate: Candidate, *, environment: Mapping[str, str], log: Log, versions: Collection[int]
    ) -> PluginProcess:
        """
        Starts the program with exactly this environment.

        A program file is opened once: the opened file is checked anew, held to the candidate's pin if it has one,
        and executed, so that no other file can come between.

        Raises:
            PluginRefused: the file may not or cannot be run, any more.
            PluginIntegrity: its bytes are not those of the pin.
            PluginStartFailed: it cannot be executed.
        """
        if candidate.kind is Kind.DISTRIBUTION:
            child = await _spawn(candidate, environment)
        else:
            with _opened(candidate) as program:
                if candidate.pin is not None:
                    await _finished(asyncio.to_thread(program.hold_to, candidate.pin, candidate.name))
                child = await _spawn(candidate, environment, program.executable, program.inherited)
        return cls(str(candidate), child, log, candidate.name, versions)

    async def handshake(self) -> Handshake:
        """
        Waits for the handshake. Has no time-out of its own: wrap it in one.

        Raises:
            HandshakeFailed: it is malformed, of another version, or there is only noise.
            PluginStartFailed: the program ended before it, or closed its standard output.
        """
        ended = asyncio.ensure_future(self.child.wait())
        try:
            await asyncio.wait((self._handshake, ended), return_when=asyncio.FIRST_COMPLETED)
            if not self._handshake.done():
                # Dead, and a child of it may hold the pipe: what it printed is there already, its end may never come.
                await asyncio.wait((self._handshake,), timeout=_LAST_WORDS_WITHIN)
            handshake = self._handshake.result() if self._handshake.done() else None
        except HandshakeFailed as error:
            raise HandshakeFailed(
                f"the handshake of {self.name} is of no use: {error.message}{self.last_words()}", hint=error.hint
            ) from None
        finally:
            ended.cancel()
        if handshake is None:
            raise await self._no_handshake()
        return handshake

    async def ended(self, when: str) -> str:
        """
        For a message, when the process has ended or is about to: `ended WHEN: exit code 3; its last words: "…"`.

        Says so too when the process is still there after a moment.
        """
        await self.wait(_LAST_WORDS_WITHIN)
        await asyncio.wait(self._readers, timeout=_LAST_WORDS_WITHIN)
        status = self.child.exit_status
        if status is None:
            return f"dropped its connection {when}, and is still running{self.last_words()}"
        return f"ended {when}: {status}{self.last_words()}"

    def last_words(self) -> str:
        """`; its last words: "…"`, or nothing when it wrote nothing to standard error."""
        words = self._errors.last_words()
        return f"; its last words: {words}" if words else ""

    @property
    def noise(self) -> str:
        """What it printed instead of a handshake, for a message; empty when nothing."""
        return f"; {self._scanner.noise}" if self._scanner.noise else ""

    async def stop(self) -> None:
        """Kills what is left of the process and its group, and ends the reading. Never raises."""
        await self.child.stop(0)
        # Stopping has closed the pipes: the readers come to their end.
        await asyncio.gather(*self._readers, return_exceptions=True)
        if not self._handshake.done():
            self._handshake.cancel()
        elif not self._handshake.cancelled():
            self._handshake.exception()  # looked at, or asyncio reports it as forgotten

    async def _no_handshake(self) -> PluginError:
        await self.wait(_LAST_WORDS_WITHIN)
        await asyncio.wait(self._readers, timeout=_LAST_WORDS_WITHIN)
        status = self.child.exit_status
        how = "closed its standard output without a handshake"
        if status is not None:
            how = f"ended before its handshake: {status}"
        return PluginStartFailed(
            f"{self.name} {how}{self.noise}{self.last_words()}",
            hint="run it again with -vv to see all that it writes",
        )

    async def _read_output(self) -> None:
        budget = _PAUSE_AFTER
        while data := await self.child.stdout.read(_CHUNK):
            if self._handshake.done():
                self._output.feed(data)
            else:
                self._look_for_handshake(data)
            budget = await _breathe(budget - len(data))
        if not self._handshake.done():
            try:
                self._handshake.set_result(self._scanner.finish())
            except HandshakeFailed as error:
                self._handshake.set_exception(error)
        self._output.finish()

    def _look_for_handshake(self, data: bytes) -> None:
        try:
            found = self._scanner.feed(data)
        except HandshakeFailed as error:
            self._handshake.set_exception(error)
            return
        if found is not None:
            handshake, rest = found
            self._handshake.set_result(handshake)
            self._output.feed(rest)

    async def _read_errors(self) -> None:
        budget = _PAUSE_AFTER
        while data := await self.child.stderr.read(_CHUNK):
            self._errors.feed(data)
            budget = await _breathe(budget - len(data))
        self._errors.finish()


async def _breathe(budget: int) -> int:
    # A read of what is there already does not yield to the loop: a plugin that writes without end would own it.
    if budget > 0:
        return budget
    await asyncio.sleep(0)
    return _PAUSE_AFTER


def _opened(candidate: Candidate) -> ProgramFile:
    path = Path(candidate.argv[0])
    try:
        with contextlib.ExitStack() as stack:
            program = stack.enter_context(ProgramFile.open(path))
            reason, hint = program.reason_against(this_platform())
            if not reason:
                stack.pop_all()  # the caller's to close
                return program
    except FileNotFoundError as error:
        raise _not_executable(candidate, error) from None
    except OSError as error:
        raise unreadable(candidate.name, path, error) from None
    raise refused(candidate.name, path, reason, hint)


async def _finished(work: Coroutine[None, None, None]) -> None:
    """Waits for work in a thread, also when cancelled: its descriptor must not be closed under it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


async def _spawn(
    candidate: Candidate,
    environment: Mapping[str, str],
    executable: str | None = None,
    inherited: Sequence[int] = (),
) -> ChildProcess:
    try:
        return await spawn(candidate.argv, env=environment, executable=executable, pass_fds=inherited)
    except OSError as error:
        raise _not_executable(candidate, error) from None


def _not_executable(candidate: Candidate, error: OSError) -> PluginStartFailed:
    reason, hint = error.strerror or type(error).__name__, None
    if error.errno == errno.ENOENT and Path(candidate.argv[0]).exists():
        reason = "the interpreter or loader that it names does not exist here"
        hint = "check the program's first line, or install a statically linked build"
    elif error.errno == errno.ENOEXEC:
        hint = "install the plugin's build for this platform; a script needs a `#!` line"
    elif error.errno == errno.EACCES:
        hint = f"chmod 0755 {candidate.location}; its file system must not be mounted noexec"
    return PluginStartFailed(f"{candidate} cannot be executed: {reason}", hint=hint)
