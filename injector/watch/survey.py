"""
One look at the inputs from outside: which directories have to be watched, and a fingerprint of what is there.

A directory is always watched before it is listed, and a name's directory before the name is followed, so there is no
moment in which a change is neither seen by the survey nor reported afterwards. No file is opened.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from injector.watch.inotify import CONTENTS, NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_MOST_LINKS = 40  # the kernel's own limit
_MOST_ENTRIES = 250_000  # that of the walk that reads the templates
_SLICE = 64  # entries between two chances to do something else
_MASK = (1 << 64) - 1


class Survey:
    """
    Looks at *paths* (absolute; files or directories with all that is below, links followed, or not there).

    *arm* is called as `Inotify.arm`. Names that start with `..` are passed over unless a link leads there, as are names
    that *ignore* says yes to and the directories *skip* below a path. `run` does the work; then:

    `fingerprint` is equal for equal trees: names, kinds, inodes, sizes, times, and where links lead.
    `newest` is the latest change of an inode, in seconds of the wall clock: one of this moment may not be the last that
    has this time stamp. `places` has the directory of each watch.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        arm: Callable[[str, int], int | None],
        ignore: Callable[[str], bool],
        skip: Sequence[str] = (),
    ) -> None:
        self.fingerprint = 0
        self.newest = 0.0
        self.places: dict[int, str] = {}
        self._names: dict[int, set[str]] = {}  # those that were followed, by watch
        self._whole: set[int] = set()  # the watches of directories of which every name matters
        self._paths = paths
        self._arm = arm
        self._ignore = ignore
        self._skipped = {identity for path in skip if (identity := _identity(path)) is not None}
        self._armed: dict[str, tuple[int | None, int]] = {}
        self._steps: dict[tuple[str, str], str | int | None] = {}
        self._walked: set[str] = set()
        self._entries = 0

    def run(self) -> Iterator[None]:
        """Does the work, with a pause after every few entries. Raises what *arm* raises, and no OSError of its own."""
        for path in self._paths:
            place = self._locate("/", path)
            if place is not None and place not in self._walked and os.path.isdir(place):  # noqa: PTH112
                yield from self._walk(place)

    def cares_for(self, wd: int, name: str) -> bool:
        """Whether what happens to *name* in the directory of the watch *wd* may change anything."""
        return name in self._names.get(wd, ()) or (wd in self._whole and self._is_wanted(name))

    def is_link(self, wd: int, name: str) -> bool:
        """Whether *name* in the directory of the watch *wd* is a symbolic link."""
        return wd in self.places and isinstance(self._steps.get((self.places[wd], name)), str)

    def _is_wanted(self, name: str) -> bool:
        return not name.startswith("..") and not self._ignore(name)

    def _walk(self, root: str) -> Iterator[None]:
        pending = [root]
        while pending:
            directory = pending.pop()
            if directory in self._walked or (directory != root and self._is_skipped(directory)):
                continue
            self._walked.add(directory)
            for name in self._listed(directory):
                place = self._locate(directory, name)
                if place is not None and self._steps.get(os.path.split(place)) == stat.S_IFDIR:
                    pending.append(place)
                self._entries += 1
                if self._entries > _MOST_ENTRIES:
                    return
                if self._entries % _SLICE == 0:
                    yield

    def _listed(self, directory: str) -> list[str]:
        self._watch(directory, None, CONTENTS)
        try:
            names = os.listdir(directory)  # noqa: PTH208  the fastest there is
        except OSError as error:
            self.fingerprint = (self.fingerprint + hash((directory, error.errno))) & _MASK
            return []
        return [name for name in names if self._is_wanted(name)]

    def _locate(self, directory: str, path: str) -> str | None:
        """Where *path* leads from *directory*, free of links; None for nowhere. What is on the way is watched."""
        parts = path.split("/")[::-1]
        links = 0
        while parts:
            name = parts.pop()
            if name in ("", "."):
                continue
            if name == "..":
                directory = os.path.dirname(directory)  # noqa: PTH120
                continue
            step = self._step(directory, name)
            if isinstance(step, str):
                links += 1
                if links > _MOST_LINKS:
                    return None
                directory = "/" if step.startswith("/") else directory
                parts += step.split("/")[::-1]
            elif step == stat.S_IFDIR or (step is not None and not parts):
                directory = os.path.join(directory, name)  # noqa: PTH118
            else:
                return None
        return directory

    def _step(self, directory: str, name: str) -> str | int | None:
        """What *name* in *directory* is: the target of a link, else its kind, else None. Found out once."""
        key = (directory, name)
        if key not in self._steps:
            path = os.path.join(directory, name)  # noqa: PTH118
            self._watch(directory, name, NAMES)
            step, facts = self._look(path)
            if isinstance(step, int) and step != stat.S_IFDIR and self._watch(directory, name, CONTENTS):
                step, facts = self._look(path)  # it may have been written before its content was watched
            # A sum: the order in which a file system lists names does not matter.
            self.fingerprint = (self.fingerprint + hash((path, facts))) & _MASK
            self._steps[key] = step
        return self._steps[key]

    def _look(self, path: str) -> tuple[str | int | None, object]:
        """What *path* is, as `_step` returns it, and what would be different if it had changed."""
        try:
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFLNK:
                target = os.readlink(path)  # noqa: PTH115
                return target, target
        except (OSError, ValueError) as error:  # ValueError: a name with NUL
            return None, getattr(error, "errno", 0)
        if kind == stat.S_IFDIR:
            return kind, (status.st_dev, status.st_ino, status.st_mode)
        self.newest = max(self.newest, status.st_ctime)
        return kind, (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def _watch(self, directory: str, name: str | None, mask: int) -> bool:
        """Whether it had to be armed for that."""
        wd, armed = self._armed.get(directory, (None, 0))
        wider = bool(mask & ~armed)
        if wider:
            wd = self._arm(directory, mask)
            self._armed[directory] = (wd, mask | armed)
        if wd is not None:
            self.places[wd] = directory
            if name is None:
                self._whole.add(wd)
            else:
                self._names.setdefault(wd, set()).add(name)
        return wider

    def _is_skipped(self, directory: str) -> bool:
        return bool(self._skipped) and _identity(directory) in self._skipped


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino)
