"""Mode, owner and group that a file is to have; how it gets them, and whether it has them."""

from __future__ import annotations

import errno
import os
import stat

from msgspec import Struct

_WIDEST = 0o777


class OwnerRefused(PermissionError):
    """chown(2) was not permitted."""


class ModeRefused(PermissionError):
    """chmod(2) was not permitted: the file belongs to somebody else."""


class Attributes(Struct, frozen=True):
    """
    Permission bits (at most 0777), user id and group id. None is what the file system gives a new file.

    That is the process's user id, and its group id, or the directory's in a directory with the setgid bit.
    """

    mode: int = 0o600
    owner: int | None = None
    group: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.mode <= _WIDEST:
            raise ValueError(f"mode {self.mode:o} is more than permission bits")
        if (self.owner or 0) < 0 or (self.group or 0) < 0:
            raise ValueError("user and group ids are not negative")

    def __str__(self) -> str:
        return f"mode={self.mode:04o}" + "".join(
            f", {name}={number}"
            for name, number in (("owner", self.owner), ("group", self.group))
            if number is not None
        )

    def fit(self, status: os.stat_result) -> bool:
        """Whether a file with *status* has them."""
        return stat.S_IMODE(status.st_mode) == self.mode and self._is_owned(status)

    def apply(self, descriptor: int) -> None:
        """
        Gives them to an open file, which is at no moment open to more people than before and after.

        Raises OwnerRefused, ModeRefused, or another OSError.
        """
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        if not self._is_owned(status):
            narrow = mode & self.mode & 0o700  # what the old group may do is not for the new one
            if mode != narrow:
                _change_mode(descriptor, narrow)
                mode = narrow
            _change_owner(descriptor, self.owner, self.group)
        if mode != self.mode:
            _change_mode(descriptor, self.mode)

    def _is_owned(self, status: os.stat_result) -> bool:
        return self.owner in (None, status.st_uid) and self.group in (None, status.st_gid)


def holds(directory: int, name: str, data: bytes, attributes: Attributes) -> bool:
    """Whether *name* in the open *directory* is a regular file with these bytes and attributes already."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(name, flags, dir_fd=directory), "rb") as file:
            status = os.fstat(file.fileno())
            return (
                stat.S_ISREG(status.st_mode)
                and attributes.fit(status)
                and status.st_size == len(data)
                and file.read(len(data) + 1) == data
            )
    except OSError:
        return False  # nothing there, a link, or not readable: it will be replaced


def _change_owner(descriptor: int, owner: int | None, group: int | None) -> None:
    try:
        os.fchown(descriptor, -1 if owner is None else owner, -1 if group is None else group)
    except OSError as error:
        # EINVAL: the id has no place in this user namespace.
        if error.errno in (errno.EPERM, errno.EINVAL):
            raise OwnerRefused(error.errno, os.strerror(error.errno)) from None
        raise


def _change_mode(descriptor: int, mode: int) -> None:
    try:
        os.fchmod(descriptor, mode)
    except PermissionError as error:
        raise ModeRefused(error.errno, os.strerror(error.errno or 0)) from None
