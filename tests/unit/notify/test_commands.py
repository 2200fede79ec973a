"""Commands: real ones, and what of theirs gets into the log."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from injector.errors import NotifyDenied, NotifyFailed, NotifyNotFound, NotifyTimeout
from injector.notify.carry_out import Changes, carrier
from injector.notify.commands import run_command, variables
from injector.notify.rollouts import fingerprint
from injector.settings.actions import ExecAction
from injector.telemetry.logs import Level, Log

ENV = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}


def shell(script: str, **more: object) -> ExecAction:
    return ExecAction(name="reload", command=("/bin/sh", "-c", script), **more)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def a_log() -> tuple[Log, io.StringIO]:
    stream = io.StringIO()
    return Log(Level.DEBUG, stream=stream), stream


async def test_what_a_command_prints_is_logged_line_by_line() -> None:
    log, stream = a_log()
    await run_command(shell("echo one; echo two; printf 'red \\033[31m\\n' >&2"), environment=ENV, log=log)
    written = stream.getvalue()
    assert "line=one" in written
    assert "line=two" in written
    assert 'stream=stderr line="red  [31m"' in written
    assert "level=info" in written


async def test_no_secret_gets_into_the_log_by_a_command() -> None:
    log, stream = a_log()
    log.redactor.add(b"hunter2-long")
    log.redactor.add(b"-----BEGIN KEY-----\nabcdefgh\nijklmnop\n-----END KEY-----\n")
    key = "-----BEGIN KEY-----\\nabcdefgh\\nijklmnop\\n-----END KEY-----\\n"
    script = f"echo got hunter2-long; printf -- '{key}' >&2; exit 1"
    with pytest.raises(NotifyFailed) as caught:
        await run_command(shell(script), environment=ENV, log=log)
    assert caught.value.message == "the command /bin/sh ended with exit code 1"
    assert "got ***" in stream.getvalue()
    for part in ("hunter2", "abcdefgh", "ijklmnop"):
        assert part not in stream.getvalue()


async def test_endless_output_neither_blocks_the_command_nor_fills_the_log() -> None:
    log, stream = a_log()
    script = "i=0; while [ $i -lt 40000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done"
    await run_command(shell(script, timeout=100.0), environment=ENV, log=log)
    assert len(stream.getvalue()) < 100_000
    assert "command output goes on" in stream.getvalue()


async def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    log, _ = a_log()
    script = f"trap '' TERM; sleep 600 & echo $! > {tmp_path}/child; sleep 601"
    with pytest.raises(NotifyTimeout) as caught:
        await run_command(shell(script, timeout=10.0), environment=ENV, log=log)
    assert caught.value.message == "the command /bin/sh did not end within 10 s and was killed"
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 60  # it is killed, which takes a moment on a loaded machine
    while is_alive(child):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@pytest.mark.fault(71, "a finished command is reaped: no zombie stays behind")
async def test_a_finished_command_is_no_zombie() -> None:
    log, _ = a_log()
    for _ in range(5):
        await run_command(shell("exit 0"), environment=ENV, log=log)
    assert not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    ("command", "error", "message"),
    [
        (("/does/not/exist",), NotifyNotFound, "the program /does/not/exist does not exist"),
        (("/bin/sh", "-c", "kill -9 $$"), NotifyFailed, "the command /bin/sh was killed by signal SIGKILL"),
    ],
)
async def test_a_command_that_cannot_work_says_why(command: tuple[str, ...], error: type, message: str) -> None:
    log, _ = a_log()
    with pytest.raises(error) as caught:
        await run_command(ExecAction(command=command), environment=ENV, log=log)
    assert caught.value.message == message


async def test_a_file_that_may_not_be_executed_is_told(tmp_path: Path) -> None:
    log, _ = a_log()
    program = tmp_path / "reload"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o600)
    with pytest.raises(NotifyDenied, match="may not be executed"):
        await run_command(ExecAction(command=(str(program),)), environment=ENV, log=log)


async def test_a_command_sees_names_of_what_changed_and_nothing_of_our_secrets() -> None:
    log, stream = a_log()
    inherited = {**ENV, "DB_PASSWORD": "hunter2", "PLUGIN_MIN_PORT": "1", "HOME": "/home/me", "EXTRA": "yes"}
    code = "import os; print(sorted(os.environ), os.environ['INJECTOR_TEMPLATES'].split(chr(10)))"
    action = ExecAction(name="show", command=(sys.executable, "-c", code))
    await carrier(inherited, ["EXTRA"], log)(action, Changes(templates=("a", "b c"), outputs=("/out/a",)))
    written = stream.getvalue()
    assert "['a', 'b c']" in written
    for name in ("HOME", "PATH", "EXTRA", "INJECTOR_TEMPLATES", "INJECTOR_OUTPUTS"):
        assert f"'{name}'" in written
    for name in ("DB_PASSWORD", "PLUGIN_MIN_PORT"):
        assert name not in written


def test_too_many_names_for_an_environment_are_left_out() -> None:
    many = tuple(f"{number}-{'x' * 90}" for number in range(10_000))
    assert variables(Changes(templates=many, outputs=("/out/a",))) == {"INJECTOR_OUTPUTS": "/out/a"}


async def test_a_name_that_is_no_utf_8_is_told_as_it_is(tmp_path: Path) -> None:
    log, _ = a_log()
    name = os.fsdecode(b"caf\xe9.conf")
    action = shell(f'printf %s "$INJECTOR_TEMPLATES" > {tmp_path}/told')
    await carrier(ENV, [], log)(action, Changes(templates=(name,), outputs=("/out/a",)))
    assert (tmp_path / "told").read_bytes() == b"caf\xe9.conf"
    assert fingerprint([(name, "1")]) != fingerprint([("caf.conf", "1")])
