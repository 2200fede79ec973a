"""One writer for each output directory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from injector.errors import OutputError
from injector.output.ownership import lock_output
from injector.output.publisher import PublishRequest, publish
from injector.output.sets import SetFile, publish_set

_HOLDER = """
import sys
from pathlib import Path
from injector.output.ownership import lock_output
lock_output(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock; killing it is what ends most locks in practice."""
    root = tmp_path / "out"
    command = [sys.executable, "-c", _HOLDER, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield root, process
        finally:
            process.kill()


@pytest.mark.fault(32, "a second writer waits, or ends with a message that names the directory")
def test_a_second_process_is_refused_until_the_first_is_gone(holder):
    root, process = holder
    with pytest.raises(OutputError, match=f"another injector writes to {root}") as caught:
        lock_output(root)
    assert caught.value.exit_code == 9
    assert caught.value.hint
    process.kill()
    process.wait()
    with lock_output(root, wait=30) as held:
        assert held.exclusive
    assert not os.listdir(root)  # no lock file


@pytest.mark.fault(32, "a second writer that may wait goes on as soon as the first ends")
def test_a_second_process_that_waits_goes_on_when_the_first_ends(holder):
    root, process = holder
    threading.Timer(0.3, process.kill).start()
    with lock_output(root, wait=60) as held:
        assert held.exclusive


def test_who_holds_the_directory_publishes_to_it(tmp_path):
    with lock_output(tmp_path):
        publish([PublishRequest(tmp_path / "a", b"1")])
        publish_set(tmp_path / "set", [SetFile("b", b"2")])
    with lock_output(tmp_path / "set"):
        assert publish_set(tmp_path / "set", [SetFile("b", b"3")])[0].changed


def test_closing_lets_go_any_number_of_times(tmp_path):
    before = sorted(os.listdir("/proc/self/fd"))
    held = lock_output(tmp_path)
    held.close()
    held.close()
    lock_output(tmp_path).close()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="a part of its path is a file"):
        lock_output(tmp_path / "file" / "d")


def test_no_descriptor_stays_open_after_a_refusal(holder):
    root, _ = holder
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(OutputError):
        lock_output(root, wait=0.01)
    assert sorted(os.listdir("/proc/self/fd")) == before
