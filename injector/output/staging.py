"""
Temporary files next to their targets, and the sweep of those that a killed writer left behind.

One publish call has one random token and numbers its files in a directory: `.injector-<token>-<number>.tmp`. Number
0 is the anchor: made first, locked with flock(2) for as long as it is a temporary file, renamed or removed last. So
a token whose anchor is unlocked or gone belongs to nobody alive, and one file per directory stays open however many
are staged. A lock, unlike a process id, holds across the containers that share a volume.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from typing import TYPE_CHECKING

from msgspec import Struct, field

from injector.output.attributes import Attributes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_NAME = re.compile(r"\.injector-([0-9a-f]{16})-([0-9]+)\.tmp")
_START = ".injector-"  # asked before the pattern: most names are not ours
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CLAIMS = 16
# File systems without flock: nobody can lock there, so nobody sweeps there either.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


def is_temporary(name: str) -> bool:
    """Whether *name* (a last component) is that of one of our temporary files."""
    return name.startswith(_START) and _NAME.fullmatch(name) is not None


class Staging(Struct):
    """The temporary files of one publish call in one directory, open as `directory` (a descriptor)."""

    directory: int
    _token: str = ""
    _anchor: int = -1
    _names: list[str] = field(default_factory=list)

    def write(self, data: bytes, mode: int, owner: int | None = None, group: int | None = None) -> tuple[str, int]:
        """
        Writes a temporary file: its name, and the open file, which is to be synced and given to `close`.

        The first one is the anchor. It is never wider than *mode*, not even while empty. Raises OSError as the file
        system does.
        """
        descriptor = self._create(mode)
        try:
            Attributes(mode, owner, group).apply(descriptor)  # before any content; umask has no say in it
            write_all(descriptor, data)
        except BaseException:
            self.close(descriptor)
            raise
        return self._names[-1], descriptor

    def close(self, descriptor: int) -> OSError | None:
        """Closes a file that `write` gave, the anchor excepted; what went wrong with that."""
        try:
            if descriptor != self._anchor:
                os.close(descriptor)
        except OSError as error:
            return error
        return None

    def switch(self, name: str, target: str) -> None:
        """Renames the temporary file *name* over *target*. The anchor goes last. Raises OSError; then it is kept."""
        os.rename(name, target, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        self._names.remove(name)

    def discard(self) -> None:
        """Removes what was not switched, the anchor last, and lets go of the lock. Never raises."""
        for name in reversed(self._names):
            # The error under way matters more; what cannot be removed now is swept by the next call.
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self.directory)
        self._names.clear()
        if self._anchor >= 0:
            with contextlib.suppress(OSError):  # it is synced
                os.close(self._anchor)
            self._anchor = -1

    def _create(self, mode: int) -> int:
        if not self._names:
            return self._claim(mode)
        name = f".injector-{self._token}-{len(self._names)}.tmp"
        descriptor = os.open(name, _CREATE, mode & 0o600, dir_fd=self.directory)
        self._names.append(name)
        return descriptor

    def _claim(self, mode: int) -> int:
        for _ in range(_CLAIMS):
            self._token = os.urandom(8).hex()
            name = f".injector-{self._token}-0.tmp"
            descriptor = os.open(name, _CREATE, mode & 0o600, dir_fd=self.directory)
            self._anchor = descriptor
            self._names.append(name)
            # A sweeper that came between creation and lock took the file for a leftover: take another.
            if lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
                return descriptor
            self.discard()
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def write_all(descriptor: int, data: bytes) -> None:
    """Writes every byte, however few the file takes at a time. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sweep(directory: Path, *, owners: Iterable[int] = ()) -> tuple[str, ...]:
    """
    Removes the temporary files that killed writers left in *directory*; returns the names that are gone.

    Only regular files with our name pattern and our user id (or one of *owners*, which files were to be given to),
    and only those of a writer that no longer lives. Raises OSError when the directory cannot be listed.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return sweep_open(descriptor, owners)
    finally:
        os.close(descriptor)


def sweep_open(directory: int, owners: Iterable[int] = ()) -> tuple[str, ...]:
    """`sweep` of an open directory."""
    ours = frozenset([os.geteuid(), *owners])
    writers: dict[str, list[tuple[int, str]]] = {}
    for name in os.listdir(directory):
        if name.startswith(_START) and (match := _NAME.fullmatch(name)):
            writers.setdefault(match[1], []).append((int(match[2]), name))
    swept: list[str] = []
    for token, files in writers.items():
        with _gone(directory, token, ours) as gone:
            if gone:
                swept += [name for _, name in sorted(files, reverse=True) if _remove(directory, name, ours)]
    return tuple(swept)


@contextlib.contextmanager
def _gone(directory: int, token: str, ours: frozenset[int]) -> Iterator[bool]:
    # The lock is kept over the removal, so that two sweepers do not cross.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        anchor = os.open(f".injector-{token}-0.tmp", flags, dir_fd=directory)
    except FileNotFoundError:
        yield True
        return
    except OSError:
        yield False  # not ours to open: no way to tell
        return
    try:
        yield _is_ours(os.fstat(anchor), ours) and lock(anchor) is True
    finally:
        os.close(anchor)


def lock(descriptor: int) -> bool | None:
    """
    Takes the lock of an open file without waiting.

    True: locked. False: somebody else holds it. None: there are no locks here.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _is_ours(status: os.stat_result, ours: frozenset[int]) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_uid in ours


def _remove(directory: int, name: str, ours: frozenset[int]) -> bool:
    try:
        if not _is_ours(os.stat(name, dir_fd=directory, follow_symlinks=False), ours):
            return False
        os.unlink(name, dir_fd=directory)
    except OSError:
        return False  # gone by itself, or a read-only directory: sweeping is never a reason to fail
    return True
