"""
Mounts of single keys of a ConfigMap or Secret (`subPath`): the kubelet never updates them.

Such a mount is bound to one generation's directory (`..2026_11_22_…`, see `mounts`), which /proc/self/mountinfo shows
as the root of the mount; a mount of the whole volume is bound to the directory above it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_GENERATION: Final = re.compile(r"/\.\.\d{4}_\d\d_\d\d_[^/]*")
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
_ROOT, _MOUNT_POINT = 3, 4


def subpath_mounts(inputs: Iterable[str], mountinfo: Path = Path("/proc/self/mountinfo")) -> list[Path]:
    """
    The mounts by `subPath` that one of *inputs* (files and directories) lies on or holds; none where there is no /proc.
    """
    try:
        lines = mountinfo.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    asked = [Path(name).absolute() for name in inputs if name != "-"]
    found: list[Path] = []
    for line in lines:
        fields = line.split(" ")
        if len(fields) > _MOUNT_POINT and _GENERATION.search(_plain(fields[_ROOT])):
            point = Path(_plain(fields[_MOUNT_POINT]))
            if any(path == point or path in point.parents or point in path.parents for path in asked):
                found.append(point)
    return found


def _plain(text: str) -> str:
    # The kernel writes blanks, tabs, line ends and backslashes as octal numbers.
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)
