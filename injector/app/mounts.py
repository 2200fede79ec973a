"""
Mounted ConfigMaps and Secrets, read one generation at a time.

The kubelet writes each generation to a directory of its own (`..2026_11_22_…`), points the link `..data` to it and
then removes the one before; what users see are links `name -> ..data/name`. (kubernetes, pkg/volume/util/
atomic_writer.go.) Read by path, two files may be of two generations; read through an open `..data`, they cannot.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

DATA = "..data"
_ATTEMPTS = 100
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Generation(Struct, frozen=True, weakref=True):
    """
    One generation of the mount at `path`, held open as `descriptor` for as long as somebody refers to it.

    Its files never change. When the kubelet has removed them, they are missing: read the next generation then.
    """

    path: Path
    descriptor: int
    identity: tuple[int, int]

    def is_current(self) -> bool:
        """Whether `..data` still leads here. If so, what was listed up to now was all there is."""
        try:
            status = (self.path / DATA).stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self.identity

    def holds(self, name: str, visible: int) -> bool:
        """Whether *name* in the open directory *visible* is one of the mount's links `name -> ..data/name`."""
        try:
            return os.readlink(name, dir_fd=visible) == f"{DATA}/{name}"
        except OSError:
            return False


def current_generation(path: Path, visible: int) -> Generation | None:
    """The generation that the mount *path*, open as *visible*, shows now; None when it is no such mount."""
    descriptor = _open_data(visible)
    if descriptor is None:
        return None
    status = os.fstat(descriptor)
    generation = Generation(path, descriptor, (status.st_dev, status.st_ino))
    weakref.finalize(generation, os.close, descriptor)
    return generation


def _open_data(visible: int) -> int | None:
    for _ in range(_ATTEMPTS):
        try:
            os.readlink(DATA, dir_fd=visible)
        except OSError:
            return None
        # What the link said may be gone by the time that the kernel looks there: it says something newer by now.
        with contextlib.suppress(FileNotFoundError):
            return os.open(DATA, _DIRECTORY, dir_fd=visible)
    return None
