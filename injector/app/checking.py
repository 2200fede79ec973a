"""
Check commands: a program that looks at a rendered file before it is published.

The file lies in a private directory under its own name, readable by its owner only, and is removed afterwards. All
files are checked before any is published, so that one that fails keeps every old file in its place.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.errors import CheckFailed
from injector.process.child import spawn
from injector.telemetry.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from injector.errors import InjectorError
    from injector.model.secret import Secret
    from injector.process.child import ChildProcess

FILE = "{file}"
_SHOWN = 2000  # characters of what a command printed
_READ = 64 * 1024  # bytes of it that are read; the rest is dropped
_AT_ONCE = 4
_GRACE = 1.0  # seconds between SIGTERM and SIGKILL


class FileCheck(Struct, frozen=True):
    """
    `command` (arguments, `{file}` for the path) is run on `data`, called `name` in messages and `file_name` on disk.

    `values` are what must not be seen in its output, `timeout` is in seconds.
    """

    name: str
    file_name: str
    data: Secret
    values: tuple[Secret, ...]
    command: tuple[str, ...]
    timeout: float


async def run_checks(
    checks: Sequence[FileCheck],
    *,
    environment: Mapping[str, str],
    redactor: Redactor,
    free: asyncio.Semaphore | None = None,
) -> tuple[InjectorError, ...]:
    """
    Runs every check, a few at once; returns a CheckFailed for each that did not exit with 0 in its time.

    A command gets *environment* and no terminal. What it printed is in the error, redacted and cut. *free* is held by
    each command while it runs, for calls that share a limit.
    """
    limit = free or asyncio.Semaphore(_AT_ONCE)

    async def limited(check: FileCheck) -> CheckFailed | None:
        async with limit:
            try:
                return await _run(check, environment, redactor)
            except OSError as error:
                return _failed(
                    check, f"there is no place to check it: {error.strerror or 'no temporary directory'}", ""
                )

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(limited(check)) for check in checks]
    return tuple(error for task in tasks if (error := task.result()) is not None)


async def _run(check: FileCheck, environment: Mapping[str, str], redactor: Redactor) -> CheckFailed | None:
    with tempfile.TemporaryDirectory(prefix="injector-check-", ignore_cleanup_errors=True) as directory:
        path = Path(directory) / (check.file_name or "file")
        _write(path, check.data.reveal())
        argv = [argument.replace(FILE, str(path)) for argument in check.command]
        program = check.command[0]
        try:
            child = await spawn(argv, env=environment)
        except OSError as error:
            reason = error.strerror or "it cannot be executed"
            return _failed(check, f"the check command {program} cannot be run: {reason}", "")
        try:
            printed, code = await _outcome(child, check.timeout)
        finally:
            await child.stop(_GRACE)
    text = _hidden(check, redactor.clean(printed.decode("utf-8", "replace"))).replace(str(path), check.name).strip()
    if code is None:
        return _failed(check, f"the check command {program} did not end within {check.timeout:g} s", text)
    if code:
        return _failed(check, f"the check command {program} refused the file (exit code {code})", text)
    return None


def _hidden(check: FileCheck, text: str) -> str:
    """*text* without the values of the file, their lines one by one: programs show the line that they do not like."""
    own = Redactor()
    for value in check.values:
        own.add(value.reveal())
        for line in value.reveal().splitlines():
            own.add(line.strip())
    return own.clean(text)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


async def _outcome(child: ChildProcess, timeout: float) -> tuple[bytes, int | None]:  # noqa: ASYNC109  # the check's own
    """What the command printed, both streams, and its exit code; None when its time was up."""
    kept = bytearray()
    readers = [asyncio.ensure_future(_read(stream, kept)) for stream in (child.stdout, child.stderr)]
    try:
        status = await asyncio.wait_for(child.wait(), timeout)
    except TimeoutError:
        status = None
    finally:
        # What it left behind may hold the pipes open; what it printed itself is there by now.
        await _end(readers)
    return bytes(kept), None if status is None else status.code


async def _end(readers: list[asyncio.Task[None]]) -> None:
    try:
        await asyncio.wait(readers, timeout=_GRACE)
    finally:
        for reader in readers:
            reader.cancel()
    await asyncio.wait(readers)


async def _read(stream: asyncio.StreamReader, kept: bytearray) -> None:
    """Reads all there is, so that the command never blocks, and keeps the beginning."""
    while chunk := await stream.read(16 * 1024):
        kept += chunk[: max(0, _READ - len(kept))]


def _failed(check: FileCheck, message: str, printed: str) -> CheckFailed:
    shown = printed if len(printed) <= _SHOWN else printed[:_SHOWN] + "…"
    said = " ".join(line.strip() for line in shown.splitlines() if line.strip())
    told = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in said)
    return CheckFailed(
        f"{check.name}: {message}" + (f"; it said: {told}" if told else ""),
        hint="the file was not published; correct the template, the value, or the setting check",
    )
