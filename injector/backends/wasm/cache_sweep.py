"""
What becomes of compiled modules that nobody needs any more; see docs/decisions/0136.

Only files with a name of ours are looked at, in a directory that was opened once: links are neither followed nor
removed, and what another process removes meanwhile is gone. A module that runs is mapped, and loses nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY: Final = 86_400.0
MOST_BYTES = 1 << 30
UNUSED_OF_OTHERS = 30 * DAY  # seconds, for what another version, or another machine, has compiled
RECENT = DAY
"""What was used within these seconds is never removed for its size: it may be of one and the same start."""

_OURS = re.compile(r"[0-9a-f]{64}-wasmtime-[a-z0-9_.+-]+\.cwasm")
_TEMPORARY = re.compile(r"\.[a-z0-9_]{8}\.cwasm")


class _File(NamedTuple):
    used_at: float
    size: int
    name: str


def used(path: Path) -> None:
    """Notes that the compiled module at *path* was used. A directory that cannot be written keeps what it has."""
    with contextlib.suppress(OSError):
        if time.time() - path.lstat().st_mtime > RECENT / 2:
            os.utime(path, follow_symlinks=False)


def sweep(directory: Path, fingerprint: str) -> int:
    """
    Removes compiled modules from *directory*; gives how many.

    Of those that end in another *fingerprint*, what was not used for UNUSED_OF_OTHERS; then, while all together are
    larger than MOST_BYTES, what was not used for longest, but for RECENT; and what killed writers left. Never raises
    OSError.
    """
    removed = 0
    with contextlib.suppress(OSError):
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in _superfluous(sorted(_files(folder)), fingerprint, time.time()):
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=folder)
                    removed += 1
        finally:
            os.close(folder)
    return removed


def _files(folder: int) -> Iterator[_File]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and (_OURS.fullmatch(entry.name) or _TEMPORARY.fullmatch(entry.name)):
                    yield _File(status.st_mtime, status.st_size, entry.name)


def _superfluous(files: list[_File], fingerprint: str, now: float) -> Iterator[str]:
    """Of *files*, which begin with what was not used for longest."""
    total = sum(file.size for file in files)
    for file in files:
        is_temporary = file.name.startswith(".")
        is_another = not is_temporary and not file.name.endswith(f"-{fingerprint}.cwasm")
        unused = now - file.used_at
        if (
            (is_temporary and unused > DAY)
            or (is_another and unused > UNUSED_OF_OTHERS)
            or (total > MOST_BYTES and unused > RECENT)
        ):
            total -= file.size
            yield file.name
