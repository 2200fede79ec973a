"""
A private directory for one plugin's socket, which leaves no trace.

It lives from the start of a plugin until its channel stands; then the socket's file is not needed any more and goes
with the directory, so that not even SIGKILL leaves one. For the moments before, its owner holds a lock (flock(2)) on
a file in it: the next start removes every directory whose lock nobody holds. A lock, not a process number, because
containers that share a volume do not share those.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from injector.errors import PluginStartFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NAME_START = "injector-plugin-"
_LOCK = "lock"
# unix(7) allows 107 bytes; go-plugin adds `/plugin` and up to ten digits.
_LONGEST_PATH = 85
_UNLOCKED_FOR = 60.0  # seconds after which a directory without a lock file is nobody's
# /dev/shm: pods with a read-only root often have no other place to write.
_FALLBACKS = ("/tmp", "/dev/shm")  # noqa: S108  # the directory inside is made with 0700 and a random name


class SocketDirectory:
    """A directory with mode 0700. Made by `create`, given back by `remove`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, environment: Mapping[str, str]) -> SocketDirectory:
        """
        A new directory below TMPDIR, or below /tmp or /dev/shm when TMPDIR is too long for a socket or not writable.

        Removes what dead owners have left in the same place.

        Raises:
            PluginStartFailed: no place can be written; the message names the last one and why.
        """
        problem = ""
        for base in _bases(environment):
            try:
                sweep(base)
                return cls._create_in(base)
            except OSError as error:
                problem = f"{base}: {error.strerror}"
        raise PluginStartFailed(
            f"there is no place for a plugin's socket ({problem})",
            hint="set TMPDIR to a directory that this user can write, in a pod for example an emptyDir volume",
        )

    @classmethod
    def _create_in(cls, base: Path) -> SocketDirectory:
        path = base / f"{_NAME_START}{secrets.token_hex(6)}"
        path.mkdir(mode=0o700)
        lock = -1
        try:
            # Locked under another name first: a file named `lock` that nobody holds is always a dead owner's.
            new = path / "new"
            lock = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            new.rename(path / _LOCK)
        except OSError:
            if lock >= 0:
                os.close(lock)
            _remove_flat(path)
            raise
        return cls(path, lock)

    def remove(self) -> None:
        """Removes the directory and what is in it, and lets go of the lock. May be called more than once."""
        if self._lock < 0:
            return
        _remove_flat(self.path)
        os.close(self._lock)
        self._lock = -1


def sweep(base: Path) -> None:
    """Removes the socket directories in *base* that are this user's and whose owner is gone."""
    for path in _own_directories(base):
        try:
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _UNLOCKED_FOR:
                    _remove_flat(path)
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_flat(path)
        except OSError:
            continue  # its owner lives
        finally:
            os.close(lock)


def _own_directories(base: Path) -> Iterator[Path]:
    with os.scandir(base) as entries:
        named = [entry for entry in entries if entry.name.startswith(_NAME_START)]
    for entry in named:
        with contextlib.suppress(OSError):
            if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                yield Path(entry.path)


def _bases(environment: Mapping[str, str]) -> Iterator[Path]:
    for name in (environment.get("TMPDIR", ""), *_FALLBACKS):
        path = Path(name)
        long = len(os.fsencode(path)) + 1 + len(_NAME_START) + 12 > _LONGEST_PATH
        if path.is_absolute() and not long:
            yield path


def _remove_flat(directory: Path) -> None:
    # Not a recursive removal: a plugin that puts folders into its socket directory keeps them.
    with contextlib.suppress(OSError):
        for entry in directory.iterdir():
            with contextlib.suppress(OSError):
                if not stat.S_ISDIR(entry.lstat().st_mode):
                    entry.unlink()
        directory.rmdir()
