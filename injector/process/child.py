"""
One child process on the running event loop.

asyncio's own subprocess support is not used: before Python 3.12.4 its `wait()` also waits for the pipes, which a
grandchild may hold open for ever, and it reaps the child at once, after which the process group's number may belong
to somebody else. Here a dead child stays a zombie until `stop()`, so a signal to its group never hits a stranger.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import warnings
from typing import TYPE_CHECKING, cast

from injector.process.death_signal import bind_to_parent
from injector.process.exits import ExitStatus, ExitWatch, claim, reap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO

_UNKILLABLE_AFTER = 5.0  # seconds after SIGKILL: a process that is still there hangs in the kernel


class ChildProcess:
    """
    A process that leads its own process group. Made by `spawn`; give it back with `stop`, also when it is dead.

    `stdout` and `stderr` are read in chunks (`await stdout.read(65536)`, `b""` at the end); what is not read blocks
    the child once the pipe and 128 KiB are full. They end when every holder of the pipe is gone, or at `stop`.
    """

    def __init__(self, popen: subprocess.Popen[bytes], stdout: _Pipe, stderr: _Pipe) -> None:
        self._popen = popen
        self._pipes = (stdout, stderr)
        self.pid: int = popen.pid
        self.stdout: asyncio.StreamReader = stdout.reader
        self.stderr: asyncio.StreamReader = stderr.reader
        self._watch = ExitWatch(popen)
        self._stopping: asyncio.Task[ExitStatus | None] | None = None

    @property
    def exit_status(self) -> ExitStatus | None:
        """How it ended; None while it runs."""
        return self._watch.status

    async def wait(self) -> ExitStatus:
        """Waits until the process itself has ended, whatever its children do. May be awaited by many, and cancelled."""
        return await self._watch.wait()

    async def stop(self, grace_seconds: float) -> ExitStatus | None:
        """
        Ends the process and all that is left of its group, and reaps it.

        SIGTERM to the group, *grace_seconds* for the process to end, then SIGKILL to the group; with 0 SIGKILL at once.
        Returns how it ended; None when the kernel would not let go of it within 5 s after SIGKILL. Never raises on a
        process that is gone already, and may be called more than once. A cancelled call still kills.
        """
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop(grace_seconds))
        try:
            return await asyncio.shield(self._stopping)
        except asyncio.CancelledError:
            if not self._stopping.done():
                self._signal(signal.SIGKILL)
                await asyncio.wait((self._stopping,), timeout=_UNKILLABLE_AFTER)
            raise

    async def _stop(self, grace_seconds: float) -> ExitStatus | None:
        try:
            if self.exit_status is None and grace_seconds > 0:
                self._signal(signal.SIGTERM)
                await asyncio.wait((self._watch.exited,), timeout=grace_seconds)
        finally:
            # Also when the loop is ending and cancels every task, this one too.
            self._signal(signal.SIGKILL)
            await asyncio.wait((self._watch.exited,), timeout=_UNKILLABLE_AFTER)
            if self.exit_status is not None:
                reap(self._popen)  # a zombie: does not block
            self._watch.close()
            for pipe in self._pipes:
                await pipe.close()
        return self.exit_status

    def _signal(self, number: signal.Signals) -> None:
        # Not reaped yet, so the group's number is still the child's own. The group may be empty or not ours to signal.
        if self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


class _Pipe(asyncio.StreamReaderProtocol):
    """The reading end of a pipe; `close` returns when its descriptor is closed."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self.reader = reader
        self._source: asyncio.BaseTransport | None = None
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, file: IO[bytes]) -> _Pipe:
        loop = asyncio.get_running_loop()
        _, pipe = await loop.connect_read_pipe(lambda: cls(asyncio.StreamReader()), file)
        return pipe

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._source = transport

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self._lost.done():
            self._lost.set_result(None)

    async def close(self) -> None:
        if self._source is not None:
            self._source.close()
            await self._lost


async def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    pass_fds: Sequence[int] = (),
    executable: str | None = None,
) -> ChildProcess:
    """
    Starts a program in a process group of its own, with standard input from /dev/null.

    Args:
        argv: the arguments, the program's name first; never a shell's line.
        env: the whole environment of the child; nothing of ours is added.
        pass_fds: descriptors that the child inherits under the same numbers, besides 0, 1 and 2.
        executable: what is run instead of `argv[0]`, which then is only a name.

    On Linux the child gets SIGKILL when the calling thread ends: call from the thread of a loop that lasts.

    Raises:
        OSError: the program cannot be executed (missing, no permission, not a program for this machine).
    """
    popen = _popen(argv, env=env, pass_fds=pass_fds, executable=executable)
    pipes: list[_Pipe] = []
    files = (cast("IO[bytes]", popen.stdout), cast("IO[bytes]", popen.stderr))
    try:
        for file in files:
            pipes.append(await _Pipe.open(file))  # noqa: PERF401  # on a failure the opened ones must be known
        return ChildProcess(popen, pipes[0], pipes[1])
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)
        reap(popen)
        for pipe in pipes:
            await pipe.close()
        for file in files:
            file.close()
        raise


def _popen(
    argv: Sequence[str], *, env: Mapping[str, str], pass_fds: Sequence[int], executable: str | None
) -> subprocess.Popen[bytes]:
    prepare = bind_to_parent()
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork beside threads: `prepare` takes no lock and imports nothing, see there.
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=r".*fork")
        popen = subprocess.Popen(  # noqa: S603  # argv is a list, no shell
            list(argv),
            executable=executable,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=tuple(pass_fds),
            process_group=0,
            preexec_fn=prepare,  # noqa: PLW1509  # the only way to set the death signal without another process
        )
    claim(popen)
    return popen
