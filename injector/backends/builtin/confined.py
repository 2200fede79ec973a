"""Opens a file that must lie below a directory, wherever its links lead and whoever swaps them meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# The way changed between finding and walking it: a mounted Secret was just updated. Anything else is an answer.
_SWAPPED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.EINVAL})
_ATTEMPTS = 10


class OutsideRoot(Exception):
    """The path leads out of the root."""


def open_file(path: str, *, root: Path | None) -> int | None:
    """
    A descriptor of the regular file *path*, or None when something else is there (it is not opened then).

    Relative paths start at *root*, or at the current directory. With *root*, links are resolved first, the result
    is compared with the root, and then walked from the root's descriptor without following any link. Raises
    OutsideRoot, ValueError for a path with NUL, and OSError as the file system does.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return _open_regular(path, None, _FILE) if root is None else _open_below(path, root)
        except OSError as error:
            if error.errno not in _SWAPPED or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _open_below(path: str, root: Path) -> int | None:
    real_root = Path(os.path.realpath(root))
    real = Path(os.path.realpath(real_root / path))
    if not real.is_relative_to(real_root):
        raise OutsideRoot
    parts = real.relative_to(real_root).parts
    if not parts:
        return None
    with contextlib.ExitStack() as stack:
        directory = os.open(real_root, _DIRECTORY)
        stack.callback(os.close, directory)
        for part in parts[:-1]:
            directory = os.open(part, _DIRECTORY, dir_fd=directory)
            stack.callback(os.close, directory)
        return _open_regular(parts[-1], directory, _FILE | os.O_NOFOLLOW)


def _open_regular(path: str, directory: int | None, flags: int) -> int | None:
    # Looked at first, since opening a device can do something; and once more, since it may be another one by now.
    status = os.stat(path, dir_fd=directory, follow_symlinks=directory is None)
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if not stat.S_ISREG(status.st_mode):
        return None
    descriptor = os.open(path, flags, dir_fd=directory)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None
