"""The private directory of a plugin's socket."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from injector.backends.goplugin import socket_directory as subject
from injector.backends.goplugin.socket_directory import SocketDirectory
from injector.errors import PluginStartFailed


def _short(tmp_path: Path) -> Path:
    # pytest's own directories can be too long for a socket.
    base = Path("/tmp") / f"sd{os.getpid()}-{time.monotonic_ns() % 10**9}"
    base.mkdir()
    return base


@pytest.fixture
def base(tmp_path: Path):
    base = _short(tmp_path)
    yield base
    subprocess.run(["rm", "-rf", str(base)], check=True)


def test_it_is_private_and_below_tmpdir(base: Path) -> None:
    directory = SocketDirectory.create({"TMPDIR": str(base)})
    assert directory.path.parent == base
    assert directory.path.stat().st_mode & 0o777 == 0o700
    (directory.path / "plugin123").touch()
    directory.remove()
    directory.remove()
    assert list(base.iterdir()) == []


@pytest.mark.fault(22, "a shorter place is taken")
def test_a_tmpdir_too_long_for_a_socket_is_not_used(base: Path) -> None:
    long = base / ("x" * 80)
    long.mkdir()
    directory = SocketDirectory.create({"TMPDIR": str(long)})
    try:
        assert directory.path.parent == Path("/tmp")
        assert len(os.fsencode(directory.path / "plugin1234567890")) < 107
    finally:
        directory.remove()


def test_a_tmpdir_that_does_not_exist_is_not_used() -> None:
    directory = SocketDirectory.create({"TMPDIR": "/does/not/exist"})
    assert directory.path.parent == Path("/tmp")
    directory.remove()


@pytest.mark.fault(22, "an error with its cause")
def test_no_place_at_all_is_told_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_FALLBACKS", ())
    with pytest.raises(PluginStartFailed, match="/does/not/exist: No such file or directory"):
        SocketDirectory.create({"TMPDIR": "/does/not/exist"})


_OWNER = """
import sys, time
from injector.backends.goplugin.socket_directory import SocketDirectory
directory = SocketDirectory.create({"TMPDIR": sys.argv[1]})
(directory.path / "plugin1").touch()
print(directory.path, flush=True)
time.sleep(1000)
"""


@pytest.mark.fault(20, "what is left of sockets is removed at the next start")
def test_what_a_killed_owner_left_is_swept_and_what_a_living_one_has_is_not(base: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _OWNER, str(base)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        theirs = Path(owner.stdout.readline().strip())
        SocketDirectory.create({"TMPDIR": str(base)}).remove()
        assert (theirs / "plugin1").exists()
        owner.kill()
    ours = SocketDirectory.create({"TMPDIR": str(base)})
    assert list(base.iterdir()) == [ours.path]
    ours.remove()


def test_sweeping_leaves_alone_what_it_does_not_know(base: Path) -> None:
    outside = base / "outside"
    outside.mkdir()
    (outside / "lock").touch()
    (base / "injector-plugin-link").symlink_to(outside)
    (base / "injector-plugin-file").touch()
    (base / "injector-plugin-young").mkdir()  # its owner may be about to lock it
    subject.sweep(base)
    assert {path.name for path in base.iterdir()} == {
        "outside",
        "injector-plugin-link",
        "injector-plugin-file",
        "injector-plugin-young",
    }
    assert (outside / "lock").exists()


def test_a_directory_that_was_never_locked_goes_after_a_minute(base: Path) -> None:
    old = base / "injector-plugin-old"
    old.mkdir()
    os.utime(old, (time.time() - 100, time.time() - 100))
    subject.sweep(base)
    assert not old.exists()
