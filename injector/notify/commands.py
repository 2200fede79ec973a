"""Runs a command for a notification: no shell, an end in time, and its output in the log, cleaned."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from injector.errors import NotifyDenied, NotifyFailed, NotifyNotFound, NotifyTimeout
from injector.process.child import spawn
from injector.process.exits import ExitStatus
from injector.settings.options import CHANGED_VARIABLES
from injector.telemetry.logs import Level

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from injector.notify.carry_out import Changes
    from injector.process.child import ChildProcess
    from injector.settings.actions import ExecAction
    from injector.telemetry.logs import Log

_CHUNK: Final = 64 * 1024
_KEPT: Final = 256 * 1024  # bytes of each stream; the rest is read and dropped, so that the command never blocks
_LOGGED: Final = 16 * 1024  # characters of each stream, far less: a secret that the cut divides lies behind them
_LONGEST_LINE: Final = 1024  # characters
_MOST_LINES: Final = 100
_GRACE: Final = 2.0  # seconds from SIGTERM to SIGKILL
_LAST_WORDS_WITHIN: Final = 0.5  # a child of the command may hold the pipe open; its own words are there by then
_LONGEST_VARIABLE: Final = 64 * 1024  # bytes; the kernel takes 128 KiB each


class Finished(Struct, frozen=True):
    """
    How a program ended (`status` None: its time was over and it was killed), and the first 256 KiB of what it printed
    to each stream.
    """

    status: ExitStatus | None
    stdout: bytes
    stderr: bytes


def variables(changes: Changes) -> dict[str, str]:
    """
    `INJECTOR_TEMPLATES` and `INJECTOR_OUTPUTS`: the names of what changed, one a line. One that would be too long for
    an environment is not there.
    """
    lines = ("\n".join(changes.templates), "\n".join(changes.outputs))
    named = dict(zip(CHANGED_VARIABLES, lines, strict=True))
    return {name: text for name, text in named.items() if len(os.fsencode(text)) <= _LONGEST_VARIABLE}


async def run_command(action: ExecAction, *, environment: Mapping[str, str], log: Log) -> None:
    """
    Runs the command with exactly this environment and logs what it prints: warnings if it fails.

    Whatever it leaves behind in its process group is killed when it ends.

    Raises:
        NotifyFailed: it ended with another exit code than 0, or is no program for this machine.
        NotifyNotFound, NotifyDenied: there is no such program, or it may not be run.
        NotifyTimeout: it was still running after its time, and was killed.
    """
    program = action.command[0]
    finished = await run_program(action.command, environment=environment, seconds=action.timeout)
    status = finished.status
    level = Level.INFO if status == ExitStatus(0) else Level.WARNING
    log_output(finished, log, level, notification=action.name)
    if status is None:
        raise NotifyTimeout(f"the command {program} did not end within {action.timeout:g} s and was killed")
    if status.code != 0:
        ended = "ended with" if status.code > 0 else "was"
        raise NotifyFailed(f"the command {program} {ended} {status}", hint="what it printed is in the log")


async def run_program(
    argv: Sequence[str], *, environment: Mapping[str, str], seconds: float, pass_fds: Sequence[int] = ()
) -> Finished:
    """
    Runs a program to its end, *seconds* at most; cancelled, it is killed, and always what is left of its group.

    Raises NotifyNotFound, NotifyDenied or NotifyFailed when it cannot be started.
    """
    try:
        child = await spawn(argv, env=environment, pass_fds=pass_fds)
    except FileNotFoundError:
        raise NotifyNotFound(
            f"the program {argv[0]} does not exist", hint="write its whole path; is it in this container?"
        ) from None
    except PermissionError:
        raise NotifyDenied(f"the program {argv[0]} may not be executed", hint="chmod +x, or another user") from None
    except OSError as error:
        raise NotifyFailed(f"the program {argv[0]} cannot be executed: {error.strerror}") from None
    except ValueError:
        raise NotifyFailed("the command holds a NUL character") from None
    kept = bytearray(), bytearray()
    readers = [
        asyncio.create_task(_keep(stream, buffer))
        for stream, buffer in zip((child.stdout, child.stderr), kept, strict=True)
    ]
    try:
        status = await _end(child, readers, seconds)
    finally:
        await child.stop(0)
        await asyncio.gather(*readers, return_exceptions=True)
    return Finished(status, bytes(kept[0]), bytes(kept[1]))


async def _end(child: ChildProcess, readers: Sequence[asyncio.Task[None]], seconds: float) -> ExitStatus | None:
    """How the program ended by itself; None when it did not in time, and is stopped."""
    try:
        async with asyncio.timeout(seconds):  # not `wait_for`: before Python 3.12 it can swallow a cancellation
            status = await child.wait()
    except TimeoutError:
        await child.stop(_GRACE)
        return None
    await asyncio.wait(readers, timeout=_LAST_WORDS_WITHIN)
    return status


async def _keep(stream: asyncio.StreamReader, kept: bytearray) -> None:
    while chunk := await stream.read(_CHUNK):
        kept += chunk[: _KEPT - len(kept)]


def log_output(finished: Finished, log: Log, level: Level, **fields: object) -> None:
    """
    What a program printed, line by line, without control characters, and not all of it if it is much.

    It is cleaned as a whole: a secret of several lines is in none of them alone.
    """
    if not log.is_enabled(level):
        return
    for stream in ("stdout", "stderr"):
        text = log.redactor.clean(getattr(finished, stream).decode("utf-8", "replace"))
        lines = text[:_LOGGED].splitlines()
        for line in lines[:_MOST_LINES]:
            shown = "".join(char if char.isprintable() else " " for char in line[:_LONGEST_LINE]).rstrip()
            if shown:
                log.write(level, "command output", stream=stream, line=shown, **fields)
        if len(text) > _LOGGED or len(lines) > _MOST_LINES:
            log.write(level, "command output goes on", stream=stream, **fields)
