"""
Overwrites files that cannot be replaced, because each is a mount of its own (a single bind-mounted file, a subPath).

The only way of writing that is not atomic: a reader may see a part of the old content and a part of the new, and a
crash of the process or the machine may leave the file so. Errors are another matter: after one the old content is
back, or the message says that it is not.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from injector.errors import OutputError, OutputPartlyWritten
from injector.output.failures import output_error

if TYPE_CHECKING:
    from pathlib import Path

    from injector.output.attributes import Attributes

_NO_RESERVING = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


def overwrite(directory: int, name: str, data: bytes, attributes: Attributes, *, path: Path) -> None:
    """
    Puts *data* into the existing file *name* of the open *directory*; *path* is its name for messages.

    Raises:
        OutputPartlyWritten: writing failed, and so did putting the old content back.
        OutputError: it is a link, has other names, or the file system refuses; the file has its old content.
    """
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OutputError(
                f"cannot write {path} in place: it is a symbolic link", hint="name the file itself, or write by rename"
            ) from None
        raise output_error(error, path) from None
    try:
        _replace_content(descriptor, data, attributes, path)
    except OSError as error:
        raise output_error(error, path) from None
    finally:
        with contextlib.suppress(OSError):  # it is synced, or has failed already
            os.close(descriptor)


def _replace_content(descriptor: int, data: bytes, attributes: Attributes, path: Path) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise OutputError(
            f"cannot write {path} in place: it has {status.st_nlink} names (hard links), which would all change",
            hint="remove the other names, or write by rename",
        )
    old = _read_all(descriptor, status.st_size)
    _reserve(descriptor, status.st_size, len(data))
    try:
        attributes.apply(descriptor)
        _write_all(descriptor, data)
        os.fsync(descriptor)
    except BaseException as error:
        # Whatever it is, also a KeyboardInterrupt: half a file is worse.
        _restore(descriptor, old, status, path, error)
        if isinstance(error, OSError):
            refused = output_error(error, path)
            raise OutputError(f"{refused.message}; its old content is back", hint=refused.hint) from None
        raise


def _read_all(descriptor: int, size: int) -> bytes:
    parts: list[bytes] = []
    offset = 0
    while part := os.pread(descriptor, max(size - offset, 1), offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def _reserve(descriptor: int, size: int, needed: int) -> None:
    """Takes the space for a larger content before any of the old is touched."""
    if needed <= size:
        return
    try:
        os.posix_fallocate(descriptor, 0, needed)
    except OSError as error:
        os.ftruncate(descriptor, size)
        if error.errno not in _NO_RESERVING:
            raise


def _write_all(descriptor: int, data: bytes) -> None:
    offset = 0
    while offset < len(data):
        offset += os.pwrite(descriptor, memoryview(data)[offset:], offset)
    os.ftruncate(descriptor, len(data))


def _restore(descriptor: int, old: bytes, status: os.stat_result, path: Path, cause: BaseException) -> None:
    try:
        _write_all(descriptor, old)
        os.fsync(descriptor)
        found = os.fstat(descriptor)
        if (found.st_uid, found.st_gid) != (status.st_uid, status.st_gid):
            os.fchown(descriptor, status.st_uid, status.st_gid)
        if stat.S_IMODE(found.st_mode) != stat.S_IMODE(status.st_mode):
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
    except OSError as error:
        reason = output_error(cause, path).message if isinstance(cause, OSError) else f"cannot write {path}"
        raise OutputPartlyWritten(
            f"{reason}; nor can its old content be put back ({os.strerror(error.errno or 0)}), it may be a mix of both",
            hint="check the disk, then render again",
        ) from None
