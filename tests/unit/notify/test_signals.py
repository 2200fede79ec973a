"""Signals: to real processes, and to none but those that are meant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from waiting import PATIENCE, eventually

from injector.errors import NotifyDenied, NotifyFailed, NotifyNoProcess
from injector.notify import signals
from injector.notify.signals import send
from injector.settings.actions import SignalAction

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

# Writes each HUP to a file; its name in the process table is its first argument.
APPLICATION = """
import signal, sys
open("/proc/self/comm", "w").write(sys.argv[1])
def hup(*_):
    with open(sys.argv[2], "a") as file:
        file.write("HUP\\n")
signal.signal(signal.SIGHUP, hup)
print("ready", flush=True)
while True:
    signal.pause()
"""
# A sender of its own: for a child of this test every process that the test starts is a stranger, as for a sidecar.
SENDER = """
import os, sys
from injector.notify.signals import send
from injector.settings.actions import SignalAction
from injector.errors import NotifyError
target = {sys.argv[1]: int(sys.argv[2]) if sys.argv[1] == "pid" else sys.argv[2]}
if sys.argv[3:]:
    os.setuid(int(sys.argv[3]))
try:
    print("sent", send(SignalAction(signal=1, **target)))
except NotifyError as error:
    print(error.code, error.message, error.hint)
"""


class Application:
    def __init__(self, trace: Path) -> None:
        self.name = "app" + uuid.uuid4().hex[:10]
        self.trace = trace
        command = [sys.executable, "-c", APPLICATION, self.name, str(trace)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    @property
    def pid(self) -> int:
        return self.process.pid

    def received(self) -> int:
        return self.trace.read_text().count("HUP") if self.trace.exists() else 0

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def application(tmp_path: Path):
    application = Application(tmp_path / "received")
    yield application
    application.end()


def sender(*arguments: str) -> str:
    command = [sys.executable, "-c", SENDER, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout.strip()


def hup(**target: object) -> SignalAction:
    return SignalAction(signal=int(signal.SIGHUP), **target)


def test_a_signal_reaches_every_process_of_a_name(application: Application, tmp_path: Path) -> None:
    assert sender("process", application.name) == "sent 1"
    eventually(lambda: application.received() == 1)


def test_a_process_is_found_by_the_name_that_it_was_started_with(tmp_path: Path) -> None:
    name = "shop-server-" + uuid.uuid4().hex  # longer than what the kernel keeps
    # Without children: one that was just forked has the name, too, and gets the signal in the shell's stead.
    script = "trap 'echo got; exit 0' HUP; echo ready; read -r line"
    application = subprocess.Popen(
        [f"/opt/{name}", "-c", script],
        executable="/bin/sh",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert application.stdout is not None
    with application:
        assert application.stdout.readline() == "ready\n"
        assert sender("process", name).startswith("sent ")
        try:
            assert application.communicate(timeout=PATIENCE)[0] == "got\n"
        finally:
            application.kill()


def test_our_own_descendants_are_not_signalled_by_name(application: Application) -> None:
    with pytest.raises(NotifyNoProcess) as caught:
        send(hup(process=application.name))
    assert caught.value.message == f"there is no process called {application.name}"
    assert "shareProcessNamespace: true" in str(caught.value.hint)


def test_a_pid_file_is_read_anew_each_time(application: Application, tmp_path: Path) -> None:
    pid_file = tmp_path / "app.pid"
    with pytest.raises(NotifyNoProcess, match="does not exist"):
        send(hup(pid_file=pid_file))
    pid_file.write_text(f"{application.pid}\n")
    send(hup(pid_file=pid_file))
    eventually(lambda: application.received() == 1)
    other = Application(tmp_path / "other")
    try:
        pid_file.write_text(f" {other.pid} \nsecond line\n")
        send(hup(pid_file=pid_file))
        eventually(lambda: other.received() == 1)
        assert application.received() == 1
    finally:
        other.end()


def test_a_pid_is_signalled(application: Application) -> None:
    send(hup(pid=application.pid))
    eventually(lambda: application.received() == 1)


@pytest.mark.parametrize("content", [b"", b"\n", b"abc", b"-5", b"0", b"99999999999", b"12 34", b"\xff\xfe\0", b"1.5"])
def test_a_pid_file_with_junk_is_refused(content: bytes, tmp_path: Path) -> None:
    pid_file = tmp_path / "app.pid"
    pid_file.write_bytes(content)
    with pytest.raises(NotifyFailed, match="does not start with a process number"):
        send(hup(pid_file=pid_file))


def test_what_is_no_file_is_no_pid_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(NotifyFailed, match="not a regular file"):
            send(hup(pid_file=path))


def test_a_pid_file_that_names_process_1_is_refused(tmp_path: Path) -> None:
    (tmp_path / "app.pid").write_text("1\n")
    with pytest.raises(NotifyNoProcess, match="names process 1") as caught:
        send(hup(pid_file=tmp_path / "app.pid"))
    assert "another PID namespace" in str(caught.value.hint)


def test_injector_does_not_signal_itself(tmp_path: Path) -> None:
    (tmp_path / "app.pid").write_text(str(os.getpid()))
    for target in ({"pid": os.getpid()}, {"pid_file": tmp_path / "app.pid"}):
        with pytest.raises(NotifyNoProcess, match="injector itself"):
            send(hup(**target))


def test_a_zombie_is_gone(tmp_path: Path) -> None:
    zombie = subprocess.Popen(["/bin/sh", "-c", "exit 0"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    (tmp_path / "app.pid").write_text(str(zombie.pid))
    for target in ({"pid": zombie.pid}, {"pid_file": tmp_path / "app.pid"}):
        with pytest.raises(NotifyNoProcess, match="does not run"):
            send(hup(**target))
    zombie.wait()
    with pytest.raises(NotifyNoProcess, match="does not run"):
        send(hup(pid=zombie.pid))


def test_a_number_that_was_given_to_another_process_is_not_signalled(application: Application, tmp_path: Path) -> None:
    pid_file = tmp_path / "app.pid"
    pid_file.write_text(str(application.pid))
    an_hour_ago = time.time() - 3600
    os.utime(pid_file, (an_hour_ago, an_hour_ago))
    with pytest.raises(NotifyNoProcess, match="the number was given away again"):
        send(hup(pid_file=pid_file))
    # The moment between look and signal: another process than the one that was looked at.
    seen = signals._process(application.pid)
    assert seen is not None
    earlier = signals._Process(seen.pid, seen.parent, seen.state, seen.command, seen.started - 1)
    assert not signals._signal(application.pid, signal.SIGHUP, expected=earlier)
    assert signals._signal(application.pid, signal.SIGHUP, expected=seen)
    eventually(lambda: application.received() == 1)


def test_without_pidfd_the_signal_arrives_all_the_same(application: Application, monkeypatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    send(hup(pid=application.pid))
    eventually(lambda: application.received() == 1)
    assert not signals._signal(
        application.pid, signal.SIGHUP, expected=signals._Process(application.pid, 1, "S", "other", 1)
    )


def test_a_process_of_somebody_else_is_told_with_what_to_do(application: Application) -> None:
    if os.getuid() == 0:
        answers = [sender("pid", str(application.pid), "65534"), sender("process", application.name, "65534")]
    else:
        answers = [sender("pid", "1")]
    for answer in answers:
        assert answer.startswith("notify-denied SIGHUP may not be sent to")
        assert "shareProcessNamespace: true" in answer
    assert application.received() == 0
    assert NotifyDenied.code == "notify-denied"


def test_names_with_brackets_and_blanks_are_read(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text("7 (a) b) (c) S 1 " + "0 " * 17 + "4711 0\n")
    (tmp_path / "8").mkdir()
    (tmp_path / "8" / "stat").write_text("8 (cut")
    monkeypatch.setattr(signals, "_PROC", tmp_path)
    process = signals._process(7)
    assert process is not None
    assert (process.command, process.parent, process.state, process.started) == ("a) b) (c", 1, "S", 4711)
    assert signals._process(8) is None
    assert signals._process(9) is None
