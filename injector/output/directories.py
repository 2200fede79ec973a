"""
The open directories of one publish call.

Below an output root every step is an openat(2) that follows no link, from a descriptor that is already held: a
directory that is swapped for a symbolic link between check and use cannot lead anywhere. Links between directories
of the root are followed by hand, one step at a time; a link that is absolute, or climbs above the root, is refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.errors import OutputOutsideRoot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_MODE = 0o755  # and umask: the files inside guard themselves
_MOST_LINKS = 40  # as the kernel


class Directory(Struct, frozen=True):
    """An open directory; `identity` (device, inode) tells whether two are one."""

    descriptor: int
    identity: tuple[int, int]


class Directories:
    """
    Opens directories, makes the missing ones below a root, and closes them all at its end.

    When the call ends with an error, the directories that it made and that are still empty go away again. With
    *make* false none are made: a missing one is an error (ENOENT).
    """

    def __init__(self, *, make: bool = True) -> None:
        self._make = make
        self._open: dict[tuple[int, str], Directory] = {}
        self._made: list[tuple[int | None, str]] = []
        self.grown: dict[tuple[int, int], Directory] = {}  # got a new subdirectory: to be synced

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            for parent, name in reversed(self._made):
                with contextlib.suppress(OSError):  # not empty any more, or the error under way is that of the disk
                    os.rmdir(name, dir_fd=parent)
        for directory in self._open.values():
            with contextlib.suppress(OSError):  # nothing was written through it
                os.close(directory.descriptor)

    def at(self, path: Path) -> Directory:
        """The directory *path*, links followed. Raises OSError."""
        return self._keep((-1, os.fspath(path)), flags=_DIRECTORY)

    def below(self, root: Path, relative: Path) -> Directory:
        """
        The directory *relative* of *root*; both are made where they are missing.

        Raises OutputOutsideRoot when the way leads out of *root*, OSError otherwise.
        """
        if relative.is_absolute() or ".." in relative.parts:
            raise OutputOutsideRoot(
                f"{relative} is not a path below {root}", hint="output names are relative and have no '..'"
            )
        trail = [self._root(root)]
        waiting = list(reversed(relative.parts))
        links = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                trail.pop()
                if not trail:
                    raise _leads_out(root, relative)
                continue
            try:
                trail.append(self._enter(trail[-1], part))
            except OSError as error:
                link = self._link(trail[-1], part, error)
                links += 1
                if link.is_absolute():
                    raise _leads_out(root, relative) from None
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
                waiting += reversed(link.parts)
        return trail[-1]

    def _root(self, root: Path) -> Directory:
        for path in reversed(list(_up_to_existing(root))) if self._make else ():
            with contextlib.suppress(FileExistsError):
                path.mkdir(_NEW_MODE)
                self._made.append((None, os.fspath(path)))
                above = self.at(path.parent)
                self.grown[above.identity] = above
        return self.at(root)

    def _enter(self, parent: Directory, name: str) -> Directory:
        try:
            return self._keep((parent.descriptor, name), flags=_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            if not self._make:
                raise
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, _NEW_MODE, dir_fd=parent.descriptor)
                self._made.append((parent.descriptor, name))
                self.grown[parent.identity] = parent
            return self._keep((parent.descriptor, name), flags=_DIRECTORY | os.O_NOFOLLOW)

    def _link(self, parent: Directory, name: str, error: OSError) -> Path:
        """Where the link *name* leads; the error again when it is no link."""
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise error
        try:
            return Path(os.readlink(name, dir_fd=parent.descriptor))
        except OSError:
            raise error from None

    def _keep(self, key: tuple[int, str], *, flags: int) -> Directory:
        if key not in self._open:
            parent, name = key
            descriptor = os.open(name, flags, dir_fd=parent if parent >= 0 else None)
            status = os.fstat(descriptor)
            self._open[key] = Directory(descriptor, (status.st_dev, status.st_ino))
        return self._open[key]


def sync_directory(descriptor: int) -> None:
    """fsync(2) of an open directory, where there is such a thing. Raises OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that does not sync directories
            raise


def _up_to_existing(path: Path) -> Iterator[Path]:
    for each in (path, *path.parents):
        if os.path.lexists(each):
            return
        yield each


def _leads_out(root: Path, relative: Path) -> OutputOutsideRoot:
    return OutputOutsideRoot(
        f"{root / relative} leads out of {root} by a symbolic link",
        hint="remove the link: outputs stay below their directory",
    )
