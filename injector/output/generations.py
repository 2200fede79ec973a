"""
Generations: the directories that `..data` of a published set leads to, one after the other.

A generation that is being made is locked with flock(2) by its maker. One that is neither locked nor current is a
leftover.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from injector.output.directories import sync_directory
from injector.output.staging import lock, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from injector.output.attributes import Attributes

DATA = "..data"
_GENERATION = re.compile(r"\.\.[0-9]{4}(?:_[0-9]{2}){5}\.([0-9a-f]{16})")
_SWITCH = re.compile(r"\.\.data_tmp-([0-9a-f]{16})")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY_MODE = 0o755  # whatever umask says: readers are other users, and the files guard themselves
_CLAIMS = 16


class Generation:
    """A generation in the making. Until it is switched to, the end of the `with` takes all of it away again."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._token = ""
        self._descriptor = -1
        self._mode = _DIRECTORY_MODE
        self._made: dict[str, None] = {}  # directories, parents first
        self.name = ""
        self.links: list[str] = []  # visible links that were made for it

    def __enter__(self) -> Self:
        for _ in range(_CLAIMS):
            self._token = os.urandom(8).hex()
            self.name = f"{time.strftime('..%Y_%m_%d_%H_%M_%S')}.{self._token}"
            os.mkdir(self.name, 0o700, dir_fd=self._root)
            if self._claim():
                return self
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _claim(self) -> bool:
        """Whether it is locked by us; a sweeper that came between creation and lock took it for a leftover."""
        try:
            # chmod(2) would drop the bit by which fsGroup's group goes down the tree. It goes before the opening:
            # umask may keep even us out.
            status = os.stat(self.name, dir_fd=self._root, follow_symlinks=False)
            self._mode = _DIRECTORY_MODE | status.st_mode & stat.S_ISGID
            os.chmod(self.name, self._mode, dir_fd=self._root)
            self._descriptor = os.open(self.name, _DIRECTORY, dir_fd=self._root)
            if lock(self._descriptor) is not False and not is_missing(self._root, self.name):
                return True
        except FileNotFoundError:
            pass  # swept: another one
        except OSError:
            self._discard()
            self._close()
            raise
        self._close()
        return False

    def __exit__(self, *_: object) -> None:
        # Asked of the disk: an interrupt may come between the swap and any note of it.
        with contextlib.suppress(OSError):
            if read_link(self._root, DATA) != self.name:
                self._discard()
        self._close()

    def write(self, name: str, data: bytes, attributes: Attributes) -> None:
        """One file with its final attributes, synced. Raises OSError."""
        for directory in reversed(PurePosixPath(name).parents[:-1]):
            self._make_directory(str(directory))
        descriptor = os.open(name, _CREATE, attributes.mode & 0o600, dir_fd=self._descriptor)
        try:
            attributes.apply(descriptor)  # before any content; umask has no say in it
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _make_directory(self, name: str) -> None:
        if name not in self._made:
            os.mkdir(name, 0o700, dir_fd=self._descriptor)
            os.chmod(name, self._mode, dir_fd=self._descriptor)
            self._made[name] = None

    def sync(self) -> None:
        """Its directories. Raises OSError."""
        for name in reversed(self._made):
            descriptor = os.open(name, _DIRECTORY, dir_fd=self._descriptor)
            try:
                sync_directory(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(self._descriptor)

    def switch(self) -> None:
        """Makes it the current one. Raises OSError."""
        link = f"{DATA}_tmp-{self._token}"
        os.symlink(self.name, link, dir_fd=self._root)
        os.rename(link, DATA, src_dir_fd=self._root, dst_dir_fd=self._root)

    def _discard(self) -> None:
        # The error under way matters more; what cannot be removed now is swept by the next call.
        for name in (f"{DATA}_tmp-{self._token}", *self.links):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._root)
        shutil.rmtree(self.name, ignore_errors=True, dir_fd=self._root)

    def _close(self) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):  # nothing was written through it
                os.close(self._descriptor)
            self._descriptor = -1


def current_generation(root: int) -> str | None:
    """The name of the generation that `..data` of the open directory *root* leads to; None when it leads elsewhere."""
    leads_to = read_link(root, DATA)
    if leads_to is None or not _GENERATION.fullmatch(leads_to) or is_missing(root, leads_to):
        return None
    return leads_to


def entries(root: int, generation: str | None) -> list[str]:
    """The first components that *generation* holds."""
    if generation is None:
        return []
    descriptor = os.open(generation, _DIRECTORY, dir_fd=root)
    try:
        return os.listdir(descriptor)  # noqa: PTH208  # a descriptor has no path
    finally:
        os.close(descriptor)


def is_missing(directory: int, name: str) -> bool:
    """Whether there is nothing of that name. Raises OSError."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return True
    return False


def read_link(directory: int, name: str) -> str | None:
    """Where the link *name* leads; None when it is no link or not there. Raises OSError."""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise  # not knowing is not the same as knowing that there is none: links would be removed


def is_generation(name: str) -> bool:
    """Whether *name* is that of a generation of ours."""
    return _GENERATION.fullmatch(name) is not None


def is_left_switch(root: int, name: str, names: Sequence[str]) -> bool:
    """Whether *name*, one of the directory's *names*, is a link that was to be renamed to `..data` and never will."""
    match = _SWITCH.fullmatch(name)
    return match is not None and not _is_being_made(root, match[1], names)


def _is_being_made(root: int, token: str, names: Sequence[str]) -> bool:
    name = next((name for name in names if (match := _GENERATION.fullmatch(name)) and match[1] == token), None)
    if name is None:
        return False
    with _left(root, name) as left:
        return not left


def remove_leftover(root: int, name: str, *, surely: bool) -> list[str]:
    """Removes the generation *name* if nobody needs it (*surely*: has just been replaced); the names that are gone."""
    with _left(root, name, surely=surely) as left:
        if not left or read_link(root, DATA) == name:  # it may have become current before it was locked
            return []
        shutil.rmtree(name, ignore_errors=True, dir_fd=root)
    return [name] if is_missing(root, name) else []


@contextlib.contextmanager
def _left(root: int, name: str, *, surely: bool = False) -> Iterator[bool]:
    """Whether the generation *name* is ours and nobody is making it; meanwhile nobody can begin to."""
    try:
        descriptor = os.open(name, _DIRECTORY, dir_fd=root)
    except OSError:
        yield False
        return
    try:
        ours = os.fstat(descriptor).st_uid == os.geteuid()
        locked = lock(descriptor)
        # Without locks nobody can tell, except of the one that has just been replaced.
        yield ours and (locked is True or (locked is None and surely))
    finally:
        os.close(descriptor)
