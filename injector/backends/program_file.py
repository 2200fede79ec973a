"""
The opened file of a plugin's program: what is checked here is what is run, whatever happens to its name meanwhile.

Every check is made on one descriptor, and that descriptor is executed (`/proc/self/fd/N`). A program that is held to
a checksum is first copied into a sealed memory file (memfd_create(2), F_SEAL_WRITE), which is hashed and executed:
nobody can write into it any more, not even through a descriptor that was opened before.

Two are executed by name, and a swap between check and start is not noticed: programs on systems without
`/proc/self/fd`, and scripts (`#!`) that no checksum holds. A script's interpreter opens it by what it is told, and
`$0`, `__file__` and all that a script finds beside itself would be those of the descriptor.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from injector.backends.executables import HEADER_BYTES, recognise
from injector.errors import PluginIntegrity, PluginRefused

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from injector.backends.executables import Platform
    from injector.backends.lockfile import LockEntry

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_DESCRIPTORS = "/proc/self/fd"
_CHUNK = 1024 * 1024
_REMEDY = (
    "if the new file is meant to be there, `injector plugin lock` takes it into the lock file; "
    "otherwise install the right one and find out who changed it"
)
_MFD_EXEC = 0x10  # Linux 6.3: this memory file is meant to be executed; sysctl vm.memfd_noexec


def is_there(path: Path) -> bool:
    """
    Whether somebody has put something at *path*.

    A dangling link was put there, and what cannot be looked at may be there: both are refused, and not overlooked.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


class ProgramFile:
    """A program's open descriptor. Made by `open`; a context manager, or give it back with `close`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._is_held = False

    @classmethod
    def open(cls, path: Path) -> ProgramFile:
        """
        Opens the file at *path*, symbolic links followed. Raises OSError.

        A file that may be executed and not read is opened for that only; it cannot be hashed.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # a named pipe does not hold us up
        try:
            return cls(path, os.open(path, flags))
        except PermissionError:
            if sys.platform != "linux":
                raise
            return cls(path, os.open(path, os.O_PATH | os.O_CLOEXEC))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the descriptor; may be called more than once."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    @property
    def executable(self) -> str:
        """The path to execute. It means this descriptor, in a child that inherits `inherited` too."""
        return f"{_DESCRIPTORS}/{self._descriptor}" if self.inherited else str(self.path)

    @property
    def inherited(self) -> tuple[int, ...]:
        """The descriptors that the child needs: a script's interpreter opens the script through it."""
        by_name = not _has_descriptor_paths() or (not self._is_held and self._is_script())
        return () if by_name else (self._descriptor,)

    def reason_against(self, platform: Platform | None) -> tuple[str, str]:
        """
        Why this is not run, and what to do about it; two empty texts when nothing is against it.

        With *platform* None only the file's safety counts, not whether it can be executed here. Raises OSError.
        """
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            return "is not a regular file", "put the plugin's program there"
        if platform is not None and not status.st_mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH):
            return "is not executable", f"chmod 0755 {self.path}"
        if status.st_mode & _WRITABLE_BY_OTHERS:
            return "may be written by others than its owner", f"chmod go-w {self.path}"
        if _is_strange(status):
            return f"belongs to the user with id {status.st_uid}", f"chown it to yourself or to root: {self.path}"
        for folder in sorted({self.path.parent, self.path.resolve().parent}):
            reason = folder_problem(folder)
            if reason[0]:
                return reason
        return self._foreign_format(platform) if platform is not None else ("", "")

    def header(self) -> bytes:
        """The first bytes, as many as `recognise` needs. Raises OSError when the file may not be read."""
        return os.pread(self._descriptor, HEADER_BYTES, 0)

    def size(self) -> int:
        """Its size in bytes now."""
        return os.fstat(self._descriptor).st_size

    def read(self) -> bytes:
        """All of its bytes. Raises OSError when the file may not be read."""
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            return file.read()

    def sha256(self) -> str:
        """The SHA-256 of its bytes in hexadecimal. Raises OSError when the file may not be read."""
        from hashlib import sha256  # late: only with a lock file

        digest, buffer, offset = sha256(), bytearray(_CHUNK), 0
        while count := os.preadv(self._descriptor, [buffer], offset):
            digest.update(memoryview(buffer)[:count])
            offset += count
        return digest.hexdigest()

    def hold_to(self, pin: LockEntry, name: str) -> None:
        """
        Makes sure that this object stands for exactly the bytes of *pin*, and will until it is closed.

        Takes as long as copying and hashing the file; meant for a thread of its own.

        Raises:
            PluginIntegrity: the bytes differ.
            PluginRefused: they cannot be read, or lie where nothing may be executed.
        """
        try:
            if sys.platform == "linux" and os.fstatvfs(self._descriptor).f_flag & os.ST_NOEXEC:
                raise refused(name, self.path, "lies on a file system that is mounted noexec", "install it elsewhere")
            if self.size() == pin.size:
                self._seal(pin.size)
            found = self.sha256()
        except OSError as error:
            raise unreadable(name, self.path, error) from None
        if found != pin.sha256:
            raise mismatch(name, self.path, expected=pin.sha256, found=found)
        self._is_held = True

    def _is_script(self) -> bool:
        try:
            return self.header().startswith(b"#!")
        except OSError:
            return False  # executable and not readable: no interpreter could read it either

    def _seal(self, size: int) -> None:
        """Goes on with a sealed copy in memory where there can be one, and with the file itself otherwise."""
        if sys.platform != "linux" or not _has_descriptor_paths():
            return
        copy = _memory_file(self.path.name)
        if copy is None:
            return
        try:
            _copy(self._descriptor, copy, size)
            import fcntl  # late: only with a lock file

            fcntl.fcntl(
                copy,
                fcntl.F_ADD_SEALS,
                fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
            )
        except BaseException:
            os.close(copy)
            raise
        os.close(self._descriptor)
        self._descriptor = copy

    def _foreign_format(self, platform: Platform) -> tuple[str, str]:
        try:
            program = recognise(self.header())
        except OSError:
            return "", ""  # executable and not readable: the system can run it, and will tell what it is
        if program is None or program.runs_on(platform):
            return "", ""
        return f"is a {program}, and this is {platform}", f"install the plugin's {platform} build"


def refused(name: str, path: Path, reason: str, hint: str) -> PluginRefused:
    """`plugin NAME (PATH) is refused: it REASON`."""
    return PluginRefused(f"plugin {name} ({path}) is refused: it {reason}", hint=hint)


def unreadable(name: str, path: Path, error: OSError) -> PluginRefused:
    """The refusal of a file that the system does not let us look at."""
    hint = "make the file and its folder readable for this user"
    return refused(name, path, f"cannot be looked at: {error.strerror}", hint)


def mismatch(name: str, path: Path | str, *, expected: str, found: str, remedy: str | None = None) -> PluginIntegrity:
    """The refusal of a file whose bytes are not the expected ones; checksums in hexadecimal, *remedy* ends the hint."""
    return PluginIntegrity(
        f"plugin {name} ({path}) is not the expected one: its sha256 is {found[:12]}…, "
        f"and {expected[:12]}… was expected",
        hint=f"expected {expected}, found {found}; {_REMEDY if remedy is None else remedy}",
    )


def folder_problem(folder: Path) -> tuple[str, str]:
    """Why a plugin may not lie in *folder*, and what to do; two empty texts when it may. Raises OSError."""
    status = folder.stat()
    if status.st_mode & _WRITABLE_BY_OTHERS and not status.st_mode & stat.S_ISVTX:
        return f"lies in {folder}, which may be written by others than its owner", f"chmod go-w {folder}"
    if _is_strange(status):
        return (
            f"lies in {folder}, which belongs to the user with id {status.st_uid}",
            f"chown it to yourself or to root: {folder}",
        )
    return "", ""


def _is_strange(status: os.stat_result) -> bool:
    # The owner can write, whatever the mode says: only root and ourselves may be it.
    return sys.platform != "win32" and status.st_uid not in (0, os.geteuid())


def _has_descriptor_paths() -> bool:
    return sys.platform == "linux" and Path(_DESCRIPTORS).is_dir()


def _memory_file(name: str) -> int | None:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    for each in (flags | _MFD_EXEC, flags):  # kernels before 6.3 do not know the flag
        with contextlib.suppress(OSError):
            return os.memfd_create(name[:200], each)
    return None  # forbidden here (vm.memfd_noexec=2, a sandbox)


def _copy(source: int, target: int, size: int) -> None:
    offset = 0
    while offset < size and (count := os.sendfile(target, source, offset, size - offset)):
        offset += count
