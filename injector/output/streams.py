"""
Targets that are no files: devices, named pipes, and the process's own descriptors.

They are written to as they are; a rename over `/dev/stdout` would destroy it.
"""

from __future__ import annotations

import os
import re
import select
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_OWN = r"/(?:dev|proc/self)/fd/([0-9]+)"
_STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2}


def own_descriptor(path: Path) -> int | None:
    """The number of the process's own descriptor that *path* is a name of, e.g. 1 for `/dev/stdout`, or None."""
    text = os.path.normpath(path)
    match = re.fullmatch(_OWN, text)
    return int(match[1]) if match else _STANDARD.get(text)


def is_stream(status: os.stat_result) -> bool:
    """Whether a target with this status is written to instead of replaced."""
    return not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode))


def write_stream(path: Path, data: bytes, *, name: str | None = None, directory: int | None = None) -> None:
    """
    Writes all of *data* to the stream *path* (or to *name* of the open *directory*, following no link).

    A named pipe that nobody reads is an error (ENXIO), not a wait. Raises OSError.
    """
    own = own_descriptor(path) if directory is None else None
    if own is not None:
        descriptor = os.dup(own)
    else:
        nofollow = os.O_NOFOLLOW if directory is not None else 0
        flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC | nofollow
        descriptor = os.open(name or path, flags, dir_fd=directory)
    try:
        _write_patiently(descriptor, data)
    finally:
        os.close(descriptor)


def _write_patiently(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            waiting = select.poll()  # not select(): descriptors may be above 1023
            waiting.register(descriptor, select.POLLOUT)
            waiting.poll()
