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
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from injector.backends.goplugin.quoting import quote
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
    """A directory with mode 0700, or 0770 for a group. Made by `create`, given back by `remove`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, environment: Mapping[str, str], *, base: Path | None = None, group: str = "") -> SocketDirectory:
        """
        A new directory below TMPDIR, or below /tmp or /dev/shm when TMPDIR is too long for a socket or not writable.

        Removes what dead owners have left in the same place.

        Args:
            environment: where TMPDIR is looked up.
            base: the one place to use instead.
            group: a group's name or number, whose members may use the directory as well (mode 0770).

        Raises:
            PluginStartFailed: no place can be written, or it cannot be given to the group.
        """
        problem = "its path is too long or not absolute" if base else ""
        for place in _bases(environment) if base is None else _short_enough(base):
            try:
                sweep(place)
                directory = cls._create_in(place)
            except OSError as error:
                problem = f"{place}: {error.strerror}"
                continue
            if group:
                _give_to(directory, group)
            return directory
        raise PluginStartFailed(
            f"there is no place for a plugin's socket ({problem})",
            hint="set the setting plugins.socketDirectory to a short path that this user can write"
            if base
            else "set TMPDIR to a directory that this user can write, in a pod for example an emptyDir volume",
        )

    @classmethod
    def _create_in(cls, base: Path) -> SocketDirectory:
        path = base / f"{_NAME_START}{os.urandom(6).hex()}"
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


def _give_to(directory: SocketDirectory, group: str) -> None:
    import shutil  # late: start-up

    try:
        shutil.chown(directory.path, group=int(group) if group.isascii() and group.isdigit() else group)
        directory.path.chmod(0o770)
    except (LookupError, OSError) as error:
        directory.remove()
        reason = (error.strerror if isinstance(error, OSError) else None) or "there is no such group"
        raise PluginStartFailed(
            f"the socket directory cannot be given to the group {quote(group)}: {reason}",
            hint="set plugins.socketGroup to a group that this user is a member of",
        ) from None


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
        yield from _short_enough(Path(name))


def _short_enough(base: Path) -> Iterator[Path]:
    if base.is_absolute() and len(os.fsencode(base)) + 1 + len(_NAME_START) + 12 <= _LONGEST_PATH:
        yield base


def _remove_flat(directory: Path) -> None:
    # Not a recursive removal: a plugin that puts folders into its socket directory keeps them.
    with contextlib.suppress(OSError):
        for entry in directory.iterdir():
            with contextlib.suppress(OSError):
                if not stat.S_ISDIR(entry.lstat().st_mode):
                    entry.unlink()
        directory.rmdir()
