"""Child processes: real ones, small shell and Python programs."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from waiting import PATIENCE, until

from injector.process.child import ChildProcess, ExitStatus, spawn

ENV = {"PATH": "/usr/bin:/bin"}


async def _sh(script: str) -> ChildProcess:
    return await spawn(["/bin/sh", "-c", script], env=ENV)


async def _read_all(stream: asyncio.StreamReader) -> bytes:
    return b"".join([chunk async for chunk in _chunks(stream)])


async def _chunks(stream: asyncio.StreamReader):
    while chunk := await stream.read(65536):
        yield chunk


def _descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


async def test_output_and_exit_code_come_back() -> None:
    child = await _sh("echo out; echo err >&2; exit 3")
    assert await _read_all(child.stdout) == b"out\n"
    assert await _read_all(child.stderr) == b"err\n"
    assert await child.wait() == ExitStatus(3)
    assert await child.stop(1) == ExitStatus(3)


@pytest.mark.parametrize(
    ("code", "text"), [(0, "exit code 0"), (3, "exit code 3"), (-9, "killed by signal SIGKILL"), (-63, "killed by sig")]
)
def test_an_exit_status_is_told_in_words(code: int, text: str) -> None:
    assert str(ExitStatus(code)).startswith(text)


async def test_a_signal_is_told_as_one() -> None:
    child = await _sh("kill -SEGV $$")
    assert str(await child.wait()) == "killed by signal SIGSEGV"
    await child.stop(0)


async def test_a_line_longer_than_any_limit_arrives_whole() -> None:
    child = await _sh("head -c 300000 /dev/zero")
    assert len(await _read_all(child.stdout)) == 300_000
    await child.stop(0)


async def test_the_environment_is_exactly_what_was_given() -> None:
    child = await spawn(["/usr/bin/env"], env={"A": "1"})
    assert await _read_all(child.stdout) == b"A=1\n"
    await child.stop(0)


@pytest.mark.fault(23, "an empty standard input")
async def test_standard_input_is_at_its_end() -> None:
    child = await _sh("cat; echo done")
    assert await _read_all(child.stdout) == b"done\n"
    await child.stop(0)


@pytest.mark.fault(23, "no descriptors but the three")
async def test_an_open_file_of_ours_stays_with_us(tmp_path) -> None:
    with (tmp_path / "file").open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        child = await _sh("for fd in /proc/$$/fd/*; do [ $(basename $fd) -gt 9 ] || basename $fd; done")
        numbers = set((await _read_all(child.stdout)).decode().split())
        assert str(file.fileno()) not in numbers - {"0", "1", "2"}
        await child.stop(0)
    assert {"0", "1", "2"} <= numbers


async def test_a_descriptor_is_passed_under_its_own_number(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("by descriptor")
    with (tmp_path / "f").open() as file:
        os.set_inheritable(file.fileno(), False)
        child = await spawn(["/bin/sh", "-c", f"cat /dev/fd/{file.fileno()}"], env=ENV, pass_fds=(file.fileno(),))
        assert await _read_all(child.stdout) == b"by descriptor"
        await child.stop(0)


async def test_another_executable_runs_under_the_given_name() -> None:
    child = await spawn(["a-name", "-c", "echo $0"], executable="/bin/sh", env=ENV)
    assert await _read_all(child.stdout) == b"a-name\n"
    await child.stop(0)


async def test_stop_asks_first() -> None:
    child = await _sh("trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    assert await child.stdout.readline() == b"ready\n"
    assert await child.stop(PATIENCE) == ExitStatus(5)


async def test_stop_kills_who_does_not_listen_when_the_grace_is_over() -> None:
    child = await _sh("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    assert await child.stdout.readline() == b"ready\n"
    started = time.monotonic()
    assert await child.stop(0.3) == ExitStatus(-9)
    assert 0.3 <= time.monotonic() - started < PATIENCE


@pytest.mark.fault(19, "the whole process group ends")
async def test_stop_takes_the_whole_group_with_it() -> None:
    child = await _sh("sleep 1000 & echo $!; exit 0")
    grandchild = int(await child.stdout.readline())
    await child.wait()
    assert psutil.pid_exists(grandchild)
    await child.stop(1)
    await until(lambda: not _alive(grandchild))


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_wait_does_not_wait_for_a_grandchild_that_holds_the_pipe() -> None:
    child = await _sh("sleep 1000 & exit 4")
    assert await asyncio.wait_for(child.wait(), PATIENCE) == ExitStatus(4)
    await child.stop(0)


async def test_stopping_a_dead_child_twice_is_no_error() -> None:
    child = await _sh("exit 0")
    await child.wait()
    assert await child.stop(1) == await child.stop(1) == ExitStatus(0)
    assert child.exit_status == ExitStatus(0)


async def test_a_cancelled_stop_still_kills() -> None:
    child = await _sh("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    await child.stdout.readline()
    task = asyncio.ensure_future(child.stop(60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert child.exit_status == ExitStatus(-9)
    assert not psutil.pid_exists(child.pid)


async def test_a_cancelled_wait_leaves_the_child_alone() -> None:
    child = await _sh("sleep 1000")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(child.wait(), 0.05)
    assert child.exit_status is None
    await child.stop(0)


@pytest.mark.parametrize(
    ("name", "content", "mode", "error"),
    [
        ("missing", None, 0, FileNotFoundError),
        ("not-executable", b"#!/bin/sh\n", 0o644, PermissionError),
        ("not-a-program", b"\x7fELFgarbage", 0o755, OSError),
    ],
)
async def test_what_cannot_be_executed_is_an_os_error(tmp_path, name, content, mode, error) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    before = _descriptors()
    with pytest.raises(error):
        await spawn([str(path)], env=ENV)
    assert _descriptors() == before


async def test_no_descriptor_and_no_process_is_left() -> None:
    first = await _sh("echo x")  # the loop's and ctypes' own descriptors are made now
    await first.stop(0)
    gc.collect()
    before = _descriptors()
    children = await asyncio.gather(*(_sh("echo x; echo y >&2; exec sleep 100") for _ in range(20)))
    await asyncio.gather(*(child.stop(2) for child in children))
    assert _descriptors() == before
    assert not any(psutil.pid_exists(child.pid) for child in children)


_HOST = """
import asyncio, sys, threading
from injector.process.child import spawn
async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is no warning of ours
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    child = await spawn(["/bin/sh", "-c", "echo $$; exec sleep 1000"], env={"PATH": "/usr/bin:/bin"})
    print(child.pid, flush=True)
    if sys.argv[1] == "kill":
        await asyncio.sleep(1000)
    await child.stop(1)
asyncio.run(main())
"""


async def test_a_child_dies_with_its_killed_parent() -> None:
    host = subprocess.Popen([sys.executable, "-c", _HOST, "kill"], stdout=subprocess.PIPE)
    assert host.stdout is not None
    with host:
        pid = int(host.stdout.readline())
        assert _alive(pid)
        host.kill()
    await until(lambda: not _alive(pid))


def test_a_run_with_every_warning_an_error_prints_none() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", _HOST, "stop"],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
