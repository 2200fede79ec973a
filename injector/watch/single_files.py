"""Mounts of single files (`subPath`): the kubelet never updates them, so there is nothing to watch."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(rb"\\([0-7]{3})")
_MOUNT_POINT = 4  # the field of proc_pid_mountinfo(5), counted from 0


def single_file_mounts(paths: Sequence[Path], *, mountinfo: Path = _MOUNTS) -> tuple[Path, ...]:
    """
    The regular files among *paths*, and below those that are directories, that are mount points of their own.

    Such a file is bound to one inode: a ConfigMap that changes gets new ones, and the mount goes on showing the old.
    Sorted; empty where *mountinfo* (the format of /proc/self/mountinfo) cannot be read.
    """
    places = [os.path.realpath(path) for path in paths]
    found = {point for point in _mount_points(mountinfo) if any(_is_in(point, place) for place in places)}
    return tuple(Path(point) for point in sorted(found) if os.path.isfile(point))  # noqa: PTH113  bytes in, bytes out


def _mount_points(mountinfo: Path) -> Iterable[str]:
    try:
        lines = mountinfo.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split(b" ")
        if len(fields) > _MOUNT_POINT:
            yield os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), fields[_MOUNT_POINT]))


def _is_in(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")
