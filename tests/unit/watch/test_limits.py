"""Without inotify - refused, used up, missing - changes are found by polling, after one clear warning."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("limited.py")
GENEROUS = 60.0
needs_filter = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() not in ("x86_64", "aarch64"),
    reason="the numbers of the system calls are not known",
)


class Child:
    def __init__(self, process):
        self.process = process
        self.lines = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        self.lines.extend(iter(self.process.stdout.readline, ""))

    def until(self, condition, what):
        deadline = time.monotonic() + GENEROUS
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self.lines}"
            if self.process.poll() == 77:
                pytest.skip("this kernel or container lets no seccomp filter be set")
            assert self.process.poll() is None, self.lines
            time.sleep(0.02)

    def said(self, text):
        return sum(text in line for line in self.lines)

    def change_is_found(self, directory, source):
        before = len(self.lines)
        (directory / f"file{before}").write_text("x")
        self.until(lambda: f"{source}\n" in self.lines[before:], source)

    def close(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        self.process.stdin.close()
        self.process.stdout.close()


@contextmanager
def limited(how, directory):
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), how, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    child = Child(process)
    try:
        child.until(lambda: child.said("changes are found by polling"), "a warning")
        yield child
    finally:
        child.close()


@needs_filter
@pytest.mark.fault(44, "without inotify changes are found by polling, after one warning that says what would help")
@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("init=ENOSYS", "seccomp profile"),
        ("init=EPERM", "seccomp profile"),
        ("init=EMFILE", "fs.inotify.max_user_instances"),
        ("watch=ENOSPC", "fs.inotify.max_user_watches"),
        ("watch=EPERM", "seccomp profile"),
    ],
)
def test_a_refused_inotify_is_said_once_and_changes_are_polled(tmp_path, how, told):
    (tmp_path / "deep").mkdir()
    with limited(how, tmp_path) as child:
        assert child.said(told) == 1
        for _ in range(3):
            child.change_is_found(tmp_path, "polling")
            child.change_is_found(tmp_path / "deep", "polling")
        time.sleep(1.2)  # it is tried again every half second
        assert child.said("warning") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can use up another user's instances and leave its own alone")
@pytest.mark.fault(44, "when inotify instances are to be had again they are used again")
def test_used_up_instances_are_polled_around_until_there_are_some_again(request):
    most = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    if most > 1000:
        pytest.skip("this user may have more instances than descriptors")
    tmp_path = Path(tempfile.mkdtemp())  # pytest's own directories are private
    request.addfinalizer(lambda: shutil.rmtree(tmp_path))
    tmp_path.chmod(0o755)
    with limited("instances", tmp_path) as child:
        assert child.said("fs.inotify.max_user_instances") == 1
        child.change_is_found(tmp_path, "polling")
        child.process.stdin.write("enough\n")
        child.process.stdin.flush()
        child.until(lambda: child.said("is to be had again"), "inotify is used again")
        child.change_is_found(tmp_path, "inotify")


@pytest.mark.fault(44, "a process without a free descriptor goes on as soon as it has one")
def test_a_process_without_descriptors_goes_on_when_it_has_some(tmp_path):
    with limited("descriptors", tmp_path) as child:
        assert child.said("limit of open files") == 1
        (tmp_path / "unseen").write_text("x")
        child.process.stdin.write("enough\n")
        child.process.stdin.flush()
        child.until(lambda: child.said("is to be had again"), "inotify is used again")
        child.change_is_found(tmp_path, "inotify")
