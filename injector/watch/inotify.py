"""inotify(7), by `inotify-simple`: opened, armed and read, with the kernel's limits told apart from the rest."""

from __future__ import annotations

import ctypes
import errno
from typing import TYPE_CHECKING

import inotify_simple  # type: ignore[import-untyped]
from msgspec import Struct

if TYPE_CHECKING:
    from typing import Any

# The library would look for libc by a child process (ldconfig, gcc); this process has it loaded.
inotify_simple._libc = ctypes.CDLL(None, use_errno=True)  # noqa: SLF001

MODIFY, ATTRIB, CLOSE_WRITE = 0x2, 0x4, 0x8
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF = 0x400, 0x800
UNMOUNT, Q_OVERFLOW, IGNORED = 0x2000, 0x4000, 0x8000
_ONLYDIR, _MASK_ADD = 0x01000000, 0x20000000

NAMES = MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF
"""What tells that a name leads somewhere else."""
CONTENTS = NAMES | MODIFY | ATTRIB | CLOSE_WRITE
"""What tells that a file's content may be another."""
ABOUT_ITSELF = DELETE_SELF | MOVE_SELF | UNMOUNT | IGNORED
"""Events of a watched directory itself, not of a name in it."""


class Unavailable(Exception):
    """inotify is not to be had, for *reason*; *remedy* says what would help. Both are texts for a log line."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


class Event(Struct, frozen=True):
    """As the kernel reports it: `name` in the directory of watch `wd`, empty when it is about the directory itself."""

    wd: int
    mask: int
    cookie: int
    name: str


class Inotify:
    """An inotify instance, never inherited by a child process. Raises Unavailable when there is none to be had."""

    def __init__(self) -> None:
        try:
            self._instance: Any = inotify_simple.INotify(nonblocking=True)
        except OSError as error:
            raise _unavailable(error) from None
        except AttributeError:
            raise Unavailable("this system has no inotify", "run on Linux") from None

    def fileno(self) -> int:
        """The descriptor; readable when there are events."""
        return int(self._instance.fileno())

    def arm(self, directory: str, mask: int) -> int | None:
        """
        Watches *directory* for *mask* in addition to what it is watched for, and returns its watch's number.

        None for one that cannot be watched (gone, no directory, not readable). Raises Unavailable at a limit.
        """
        try:
            return int(self._instance.add_watch(directory, mask | _MASK_ADD | _ONLYDIR))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM, errno.EPERM, errno.ENOSYS):
                raise _unavailable(error) from None
            return None

    def disarm(self, wd: int) -> None:
        """Ends the watch *wd*; nothing happens when it has ended by itself."""
        try:
            self._instance.rm_watch(wd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise

    def read(self) -> list[Event]:
        """All events that are there; does not wait."""
        return [Event(*event) for event in self._instance.read(timeout=0)]

    def close(self) -> None:
        self._instance.close()


def _unavailable(error: OSError) -> Unavailable:
    if error.errno == errno.EMFILE:
        return Unavailable(
            "no inotify instance is left for this user, or this process has no descriptor left",
            "raise sysctl fs.inotify.max_user_instances on the node, or the limit of open files",
        )
    if error.errno == errno.ENOSPC:
        return Unavailable(
            "no inotify watch is left for this user", "raise sysctl fs.inotify.max_user_watches on the node"
        )
    if error.errno == errno.ENFILE:
        return Unavailable("this machine has no open file left", "raise sysctl fs.file-max on the node")
    name = errno.errorcode.get(error.errno or 0, "unknown")
    return Unavailable(f"the kernel refuses inotify ({name})", "allow inotify in the seccomp profile of the container")
