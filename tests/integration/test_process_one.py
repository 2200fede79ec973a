"""The command as process 1 of a container: zombies, signals, exit codes. With a PID namespace, and without."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INJECTOR = Path(sys.executable).with_name("injector")
ROW = 71

# Becomes what orphans are given to, leaves two zombies-to-be behind (a child and a grandchild), and becomes injector.
SUBREAPER = """
import ctypes, os, sys, time
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(4)
        os._exit(3)
    time.sleep(3)
    os._exit(2)
os.execv(sys.argv[1], sys.argv[1:])
"""

# Makes orphans that end a little later, then waits until no zombie is left; 0 when that happened.
ORPHANS = """
import os, sys, time
from pathlib import Path
for _ in range(5):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(2)
            os._exit(9)
        os._exit(0)
    os.wait()
parent = os.getppid()
def children():
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and int(stat.parent.name) != os.getpid():
            found.append((stat.parent.name, fields[0]))
    return found
assert children(), "the orphans came to nobody"
deadline = time.monotonic() + 50
while children():
    if time.monotonic() > deadline:
        print(children())
        sys.exit(1)
    time.sleep(0.1)
sys.exit(42)
"""


@functools.cache
def namespace() -> tuple[str, ...] | None:
    """The command that makes a PID namespace here, or None."""
    program = shutil.which("unshare")
    if program is None:
        return None
    for more in ((), ("-r",)):
        command = (program, *more, "-pf", "--mount-proc")
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return None


def needs_namespace() -> tuple[str, ...]:
    command = namespace()
    if command is None:
        pytest.skip("no PID namespace can be made here (unshare -p)")
    return command


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a").write_text("x=ENV://HOME\n")
    return tmp_path


@pytest.fixture
def start(here: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []

    def begin(*command: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([str(part) for part in command], cwd=here, stdout=subprocess.PIPE)
        running.append(process)
        return process

    yield begin
    for process in running:
        assert process.stdout is not None
        process.stdout.close()
        if process.poll() is None:
            process.kill()
            process.wait(PATIENCE)


def children_of(pid: int) -> list[tuple[int, str]]:
    """The children of *pid* and their states."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append((int(stat.parent.name), fields[0]))
    return found


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.fault(ROW, "as process 1, `exec` reaps the orphans of its command and passes its exit code on")
def test_exec_as_process_one(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = start(*needs_namespace(), INJECTOR, "exec", "--refresh", "1h", "--", sys.executable, "-c", ORPHANS)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 42, output


@pytest.mark.fault(ROW, "orphans that are given to `exec` (a subreaper) are reaped, its own child is not stolen")
def test_exec_as_a_subreaper(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = start(
        *(sys.executable, "-c", SUBREAPER, INJECTOR, "exec", "--refresh", "1h", "--"), sys.executable, "-c", ORPHANS
    )
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 42, output


@pytest.mark.fault(ROW, "SIGTERM reaches the command of a process 1, and its exit code is passed on")
def test_exec_as_process_one_passes_signals_on(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    script = 'trap "exit 5" TERM; echo up; while :; do sleep 0.1; done'
    process = start(*needs_namespace(), INJECTOR, "exec", "--refresh", "1h", "--", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    [(inner, _)] = children_of(process.pid)
    os.kill(inner, signal.SIGTERM)
    assert process.wait(PATIENCE) == 5


@pytest.mark.fault(ROW, "`run` as process 1 ends with 0 on SIGTERM, which the kernel ignores by default there")
def test_run_as_process_one(start: Callable[..., subprocess.Popen[bytes]], here: Path) -> None:
    process = start(*needs_namespace(), INJECTOR, "run", "templates", "--output-dir", "out", "-q")
    eventually((here / "out" / "a").exists)
    [(inner, _)] = children_of(process.pid)
    os.kill(inner, signal.SIGTERM)
    assert process.wait(PATIENCE) == 0


@pytest.mark.fault(ROW, "`run` reaps what comes to it, also what was there before it began")
def test_run_as_a_subreaper(start: Callable[..., subprocess.Popen[bytes]], here: Path) -> None:
    process = start(sys.executable, "-c", SUBREAPER, INJECTOR, "run", "templates", "--output-dir", "out", "-q")
    eventually(lambda: children_of(process.pid))
    eventually((here / "out" / "a").exists)
    eventually(lambda: not children_of(process.pid))
    process.terminate()
    assert process.wait(PATIENCE) == 0


@pytest.mark.fault(ROW, "SIGTERM ends `init` as process 1 while it waits for a backend")
def test_init_as_process_one(start: Callable[..., subprocess.Popen[bytes]], here: Path) -> None:
    (here / "templates" / "a").write_text("x=AWSPARAMSTR:///x\n")
    environment = ["env", "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_REGION=eu-west-1"]
    environment += ["AWS_ENDPOINT_URL_SSM=http://127.0.0.1:9"]
    process = start(*needs_namespace(), *environment, INJECTOR, "init", "templates", "--output-dir", "out", "-q")
    eventually(lambda: children_of(process.pid))
    [(inner, _)] = children_of(process.pid)
    eventually(lambda: catches(inner, signal.SIGTERM))  # the kernel drops it before: it is process 1
    time.sleep(2)
    os.kill(inner, signal.SIGTERM)
    assert process.wait(PATIENCE) == 143
    assert not (here / "out" / "a").exists()
