"""
Connections from a directory of mounted Kubernetes Secrets, read only.

    DIRECTORY/NAME.json    {"prefix": "AWSPARAMSTR", "settings": {"region": "eu-west-1"}, "secrets": {"token": "…"}}
    DIRECTORY/NAME/        a Secret mounted as a directory: `prefix`, `settings.json` if wanted, any other file a secret

The kubelet replaces a mounted Secret by pointing its link `..data` to another directory. That is opened once and all
is read below it, so that what comes out is of one generation; one that vanishes meanwhile is read again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Any

from injector.connections.connection import Connection, check_fields, check_name, check_prefix, unknown
from injector.connections.written import Written, read_settings, read_written, secret_text
from injector.errors import ConnectionInvalid, InjectorError
from injector.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TypeVar

    from injector.connections.connection import ConnectionSummary

    T = TypeVar("T")

_DATA = "..data"
_SUFFIX = ".json"
_PREFIX = "prefix"
_SETTINGS = "settings.json"
_LARGEST = 1024 * 1024  # bytes; a Secret of Kubernetes has no more
_ATTEMPTS = 50  # a mount that is replaced faster than it can be read is broken


class MountedConnections:
    """
    The connections in *directory*. Implements ConnectionSource.

    An ID is `mounted-NAME`, a version the time at which the files were written, in nanoseconds. Methods raise
    ConnectionInvalid when the directory or a file cannot be read or holds no connection.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def summaries(self) -> tuple[ConnectionSummary, ...]:
        """See ConnectionSource."""

        def read(directory: int) -> tuple[ConnectionSummary, ...]:
            return tuple(self._read(directory, name).summary() for name in self._names(directory))

        return self._pinned(read)

    def summary(self, name: str) -> ConnectionSummary:
        """See ConnectionSource."""
        return self.load(name).summary()

    def load(self, name: str) -> Connection:
        """See ConnectionSource."""

        def read(directory: int) -> Connection:
            names = self._names(directory)
            if name not in names:
                raise unknown(name, names)
            return self._read(directory, name)

        return self._pinned(read)

    def _pinned(self, read: Callable[[int], T]) -> T:
        for _ in range(_ATTEMPTS):
            try:
                with _generation(self.directory, None) as directory:
                    return read(directory)
            except FileNotFoundError:
                if not self.directory.exists():
                    raise ConnectionInvalid(
                        f"the directory of connections {self.directory} does not exist",
                        hint="correct connections.directory, or mount the Secret there",
                    ) from None
            except OSError as error:
                raise self._invalid((error.strerror or "").lower()) from None
        raise self._invalid("it is replaced again and again while being read")

    def _invalid(self, reason: str) -> InjectorError:
        return ConnectionInvalid(f"the connections in {self.directory} cannot be read: {reason}")

    def _names(self, directory: int) -> list[str]:
        names = []
        for entry in os.listdir(directory):  # of a descriptor
            if entry.startswith("."):
                continue
            is_directory = stat.S_ISDIR(os.stat(entry, dir_fd=directory).st_mode)
            if is_directory or entry.endswith(_SUFFIX):
                names.append(check_name(entry if is_directory else entry.removesuffix(_SUFFIX)))
        if double := next((name for name in names if names.count(name) > 1), None):
            raise ConnectionInvalid(f"{self.directory} has `{double}` as a file and as a directory", hint="keep one")
        return sorted(names)

    def _read(self, directory: int, name: str) -> Connection:
        try:
            written, version = _read_file(directory, name, self.directory)
        except FileNotFoundError:
            with _generation(name, directory) as inner:
                written, version = _read_directory(inner, self.directory / name), os.fstat(inner).st_mtime_ns
        if written.prefix is None:
            raise ConnectionInvalid(f"the connection `{name}` in {self.directory} has no prefix", hint="give it one")
        secrets = {field: Secret(text.encode()) for field, text in written.secrets.items()}
        check_fields(written.settings, secrets)
        return Connection(f"mounted-{name}", name, check_prefix(written.prefix), version, written.settings, secrets)


@contextlib.contextmanager
def _generation(path: Path | str, base: int | None) -> Iterator[int]:
    """
    A descriptor of the directory *path*, or of the one that its `..data` points to at this moment.

    Raises FileNotFoundError at the end when `..data` has come to point elsewhere: the files may have been on their
    way out while they were listed and read, and what was found then counts for nothing.
    """
    outer = os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=base)
    inner = -1
    try:
        with contextlib.suppress(FileNotFoundError):
            inner = os.open(_DATA, os.O_RDONLY | os.O_DIRECTORY, dir_fd=outer)
        if inner < 0:
            yield outer
            return
        try:
            yield inner
        except InjectorError:
            if _is_current(inner, outer):
                raise
        if not _is_current(inner, outer):
            raise FileNotFoundError(errno.ENOENT, "replaced while it was read")
    finally:
        os.close(outer)
        if inner >= 0:
            os.close(inner)


def _is_current(inner: int, outer: int) -> bool:
    # An open directory keeps its number, so that no later one has the same.
    return os.path.samestat(os.fstat(inner), os.stat(_DATA, dir_fd=outer))


def _read_file(directory: int, name: str, shown: Path) -> tuple[Written, int]:
    data, modified = _bytes(directory, name + _SUFFIX, shown)
    return read_written(data, str(shown / (name + _SUFFIX))), modified


def _read_directory(directory: int, shown: Path) -> Written:
    prefix: str | None = None
    settings: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    for entry in os.listdir(directory):  # of a descriptor
        if entry.startswith("."):
            continue
        data, _ = _bytes(directory, entry, shown)
        if entry == _SETTINGS:
            settings = read_settings(data, str(shown / entry))
        elif entry == _PREFIX:
            prefix = secret_text(data, str(shown / entry))
        else:
            secrets[entry] = secret_text(data, str(shown / entry))
    return Written(prefix, settings, secrets)


def _bytes(directory: int, name: str, shown: Path) -> tuple[bytes, int]:
    # Not blocking: a named pipe would wait for somebody who writes.
    with open(os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=directory), "rb") as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it holds what is no file")
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ConnectionInvalid(f"{shown / name} is larger than {_LARGEST} bytes")
    return data, status.st_mtime_ns
