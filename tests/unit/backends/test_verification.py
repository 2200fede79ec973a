"""When a lock file holds, whom it admits, and what is said to the others."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from injector.backends.discovery import Candidate, Kind
from injector.backends.executables import Platform
from injector.backends.lockfile import Lock, LockEntry, format_lock
from injector.backends.verification import LockState, Verification, compare
from injector.errors import ExitCode, PluginLockInvalid, PluginLockNotFound, PluginNotLocked
from injector.model.policy import Verify

LINUX = Platform("linux", "amd64")
ENTRY = LockEntry("a" * 64, 7)
DEMO = Candidate("DEMO", Kind.GOPLUGIN, "/p/demo", ("/p/demo",), "test")
MODULE = Candidate("DEMO", Kind.WASM, "/p/demo.wasm", (), "test")
INSTALLED = Candidate("AWS", Kind.DISTRIBUTION, "python -m aws", ("python",), "test")


def _lock(folder: Path, entries: dict[tuple[str, str], LockEntry], name: str = "injector.plugins.lock") -> Path:
    (folder / name).write_bytes(format_lock(Lock(entries)))
    return folder / name


def test_without_a_lock_file_everything_is_admitted_and_nothing_pinned(tmp_path: Path) -> None:
    for verify in (Verify.OFF, Verify.LOCKED):
        assert Verification.from_settings(verify, None, tmp_path).admit(DEMO, LINUX) is DEMO


def test_with_one_in_the_current_directory_a_plugin_gets_the_pin_of_its_platform(tmp_path: Path) -> None:
    _lock(tmp_path, {("demo", "linux-amd64"): ENTRY, ("demo", "wasm"): LockEntry("b" * 64, 1)})
    policy = Verification.from_settings(Verify.LOCKED, None, tmp_path)
    assert policy.admit(DEMO, LINUX).pin == ENTRY
    assert policy.admit(MODULE, LINUX).pin == LockEntry("b" * 64, 1)
    with pytest.raises(PluginNotLocked) as caught:
        policy.admit(DEMO, Platform("darwin", "arm64"))
    assert caught.value.exit_code is ExitCode.PLUGIN
    assert "does not name it for darwin/arm64" in caught.value.message


def test_a_lock_file_that_is_named_goes_before_the_one_that_is_found(tmp_path: Path) -> None:
    _lock(tmp_path, {})
    named = _lock(tmp_path, {("demo", "linux-amd64"): ENTRY}, "named")
    for path in (named, Path("named")):
        assert Verification.from_settings(Verify.LOCKED, path, tmp_path).admit(DEMO, LINUX).pin == ENTRY


def test_off_does_not_even_read_it(tmp_path: Path) -> None:
    assert Verification.from_settings(Verify.OFF, tmp_path / "missing", tmp_path).admit(DEMO, LINUX) is DEMO


@pytest.mark.parametrize("verify", [Verify.LOCKED, Verify.REQUIRED])
def test_a_named_lock_file_that_is_missing_refuses_every_plugin_file(tmp_path: Path, verify: Verify) -> None:
    policy = Verification.from_settings(verify, tmp_path / "missing", tmp_path)
    with pytest.raises(PluginLockNotFound, match="missing does not exist"):
        policy.admit(DEMO, LINUX)
    assert policy.admit(INSTALLED, LINUX) is INSTALLED


def test_required_refuses_without_a_lock_file_and_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(PluginLockNotFound) as caught:
        Verification.from_settings(Verify.REQUIRED, None, tmp_path).admit(DEMO, LINUX)
    assert str(tmp_path / "injector.plugins.lock") in (caught.value.hint or "")


def test_a_dangling_link_is_not_the_same_as_no_lock_file(tmp_path: Path) -> None:
    (tmp_path / "injector.plugins.lock").symlink_to("nowhere")
    with pytest.raises(PluginLockNotFound):
        Verification.from_settings(Verify.LOCKED, None, tmp_path).admit(DEMO, LINUX)


def test_a_directory_that_cannot_be_searched_is_no_proof_that_there_is_no_lock_file(tmp_path: Path) -> None:
    too_long = tmp_path / ("x" * 300)  # lstat fails, and not because nothing is there; root may search everywhere
    policy = Verification.from_settings(Verify.LOCKED, None, too_long)
    with pytest.raises(PluginLockInvalid, match="cannot be read"):
        policy.admit(DEMO, LINUX)


def test_the_place_of_a_mistake_survives_being_reported_at_a_token(tmp_path: Path) -> None:
    path = tmp_path / "injector.plugins.lock"
    path.write_text("apiVersion: config-injector.io/v1alpha1\nkind: PluginLock\nplugin: {}\nx: 1\n")
    with pytest.raises(PluginLockInvalid) as caught:
        Verification.from_settings(Verify.LOCKED, None, tmp_path).admit(DEMO, LINUX)
    assert f"{path}:3:1: plugin is no key" in caught.value.message
    assert caught.value.place is None


def test_a_file_is_locked_different_unknown_or_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"data")
    digest = hashlib.sha256(b"data").hexdigest()
    assert compare(path, LockEntry(digest, 4)) == (LockState.LOCKED, digest)
    assert compare(path, ENTRY) == (LockState.DIFFERENT, digest)
    assert compare(path, None) == (LockState.NOT_LOCKED, None)
    assert compare(tmp_path / "none", ENTRY) == (LockState.UNREADABLE, None)
    assert compare(tmp_path, ENTRY) == (LockState.UNREADABLE, None)
