"""`FILE:///path`: the bytes of a file, such as a mounted Kubernetes Secret."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.backends.builtin.confined import OutsideRoot, open_file
from injector.backends.contract import Limits
from injector.errors import AccessDenied, BackendUnavailable, CallTimeout, InvalidReference, ValueNotFound
from injector.model.references import DocumentFormat, Value
from injector.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from injector.backends.contract import Answer, Outcome
    from injector.model.references import Reference

_SUFFIXES = {
    ".json": DocumentFormat.JSON,
    ".yaml": DocumentFormat.YAML,
    ".yml": DocumentFormat.YAML,
    ".env": DocumentFormat.DOTENV,
}
# `text` is what needs no reading at all; a key path asked of it is read as JSON, as of every other value.
_TYPES = {
    "text": DocumentFormat.JSON,
    "json": DocumentFormat.JSON,
    "yaml": DocumentFormat.YAML,
    "dotenv": DocumentFormat.DOTENV,
}
_OF_THE_PATH = frozenset({errno.ELOOP, errno.ENAMETOOLONG})
_METADATA = {"type": frozenset(_TYPES), "trim": frozenset({"true", "false"})}


class _Reading(Struct, frozen=True):
    """How a reference wants its file to be read: metadata `type=text|json|yaml|dotenv` and `trim=true|false`."""

    format: DocumentFormat
    trim: bool


class FileBackend:
    """
    Answers with the exact bytes of files, read anew at every fetch.

    Args:
        root: when given, no file outside of it is read, wherever `..` and symbolic links lead; relative paths start
            there. Otherwise they start at the current directory.
        max_value_bytes: a larger file is refused.
    """

    name = "files"
    limits = Limits(largest_batch=256, most_in_flight=8)

    def __init__(self, *, root: Path | None, max_value_bytes: int) -> None:
        self._root = root
        self._largest = max_value_bytes

    async def fetch(self, references: Sequence[Reference], *, timeout: float) -> AsyncIterator[Answer]:  # noqa: ASYNC109  # the contract's; a generator cannot hold a timeout scope over its yields
        """
        Each reference's file, one after the other, read in a thread.

        Answers are a Value, ValueNotFound (no such file), AccessDenied (not permitted, or outside of the root),
        InvalidReference (no regular file, too large, unknown metadata) or BackendUnavailable (the disk fails).
        Raises CallTimeout when a file does not answer in *timeout* seconds, as a dead network mount does not.
        """
        deadline = time.monotonic() + timeout
        for reference in references:
            reading = asyncio.to_thread(self._look_up, reference)
            try:
                outcome = await asyncio.wait_for(reading, max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise CallTimeout(
                    f"the file {reference.path} was not read within {timeout:g} s", hint="is its file system reachable?"
                ) from None
            yield reference, outcome

    async def close(self) -> None:
        """Nothing to give back: no file stays open."""

    def _look_up(self, reference: Reference) -> Outcome:
        reading = _how(reference)
        if isinstance(reading, InvalidReference):
            return reading
        try:
            data = self._read(reference.path)
        except OutsideRoot:
            return AccessDenied(
                f"the file {reference.path} is outside of {self._root}",
                hint=f"the setting fileRoot allows files below {self._root} only",
            )
        except OSError as error:
            return _refused(error, reference.path)
        except ValueError:
            return InvalidReference(f"{reference.path!r} is not a path", hint="a path holds no NUL character")
        if isinstance(data, InvalidReference):
            return data
        return Value(Secret(_without_line_break(data) if reading.trim else data), reading.format)

    def _read(self, path: str) -> bytes | InvalidReference:
        descriptor = open_file(path, root=self._root)
        if descriptor is None:
            return InvalidReference(
                f"{path} is not a regular file", hint="name a file, not a directory, device or named pipe"
            )
        with os.fdopen(descriptor, "rb") as file:
            size = os.fstat(descriptor).st_size
            # One byte more than allowed: a file of /proc says that it is empty, and any file may grow.
            data = file.read(self._largest + 1) if size <= self._largest else b""
        size = max(size, len(data))
        if size > self._largest:
            return InvalidReference(
                f"the file {path} has {size} bytes or more, allowed are {self._largest}",
                hint="raise plugins.maxValueSize (INJECTOR_MAX_VALUE_SIZE) if that is right",
            )
        return data


def _how(reference: Reference) -> _Reading | InvalidReference:
    if reference.connection:
        return InvalidReference(f"FILE {reference.path} takes no connection", hint="remove connection=")
    given: dict[str, str] = {}
    for pair in filter(None, reference.metadata.split(",")):
        name, _, value = (part.strip() for part in pair.partition("="))
        if value not in _METADATA.get(name, ()) or name in given:
            return InvalidReference(
                f"FILE {reference.path} does not take the metadata {name!r} like this",
                hint="known are type=text, json, yaml or dotenv, and trim=true or false, each once",
            )
        given[name] = value
    suffix = PurePosixPath(reference.path).suffix or PurePosixPath(reference.path).name  # .env has no suffix
    by_suffix = _SUFFIXES.get(suffix.lower(), DocumentFormat.JSON)
    return _Reading(_TYPES[given["type"]] if "type" in given else by_suffix, given.get("trim") == "true")


def _refused(error: OSError, path: str) -> ValueNotFound | AccessDenied | BackendUnavailable | InvalidReference:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return ValueNotFound(f"the file {path} does not exist", hint="check the path and the volume that it is on")
    if isinstance(error, PermissionError):
        return AccessDenied(
            f"the file {path} may not be read by uid {os.geteuid()}", hint="check owner and mode, fsGroup and runAsUser"
        )
    reason = os.strerror(error.errno) if error.errno else "unknown reason"
    if error.errno in _OF_THE_PATH:
        return InvalidReference(f"the file {path} cannot be opened: {reason}")
    return BackendUnavailable(f"the file {path} cannot be read: {reason}")


def _without_line_break(data: bytes) -> bytes:
    return data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data
