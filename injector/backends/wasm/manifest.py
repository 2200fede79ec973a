"""
An Extism manifest beside a module (`demo.json` for `demo.wasm`): its author's own limits.

It narrows what the connection grants, and widens nothing: a file that is not in the lock file must not be able to. What
Extism lets a manifest do beyond that is refused, so that nobody believes it was done.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta, Struct

from injector.backends.program_file import ProgramFile, refused, unreadable
from injector.backends.wasm.deadline import Deadline
from injector.errors import CallTimeout

if TYPE_CHECKING:
    from injector.backends.discovery import Candidate

_LARGEST: Final = 64 * 1024
_PAGE: Final = 64 * 1024
_Count = Annotated[int, Meta(ge=0)]


class _Module(Struct, frozen=True, forbid_unknown_fields=True):
    path: str | None = None
    hash: str | None = None
    name: str | None = None


class _Memory(Struct, frozen=True, forbid_unknown_fields=True):
    max_pages: _Count | None = None
    max_http_response_bytes: _Count | None = None
    max_var_bytes: _Count | None = None


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """
    What a manifest may say. `allowed_hosts` are globs of host names, None for no limit of its own; `timeout_ms` is that
    of one instance; `config` answers `config_get` where the connection has no setting of that name.
    """

    wasm: Annotated[tuple[_Module, ...], Meta(max_length=1)] = ()
    allowed_hosts: tuple[str, ...] | None = None
    timeout_ms: Annotated[int, Meta(ge=1)] | None = None
    memory: _Memory = _Memory()
    config: dict[str, str] = {}

    def memory_bytes(self, limit: int) -> int:
        """The limit of each linear memory: *limit*, or what the manifest says when that is less."""
        pages = self.memory.max_pages
        return limit if pages is None else min(limit, pages * _PAGE)

    def deadline(self, outer: Deadline) -> Deadline:
        """*outer*, or one within it when the manifest has a time-out."""
        return outer if self.timeout_ms is None else _Narrowed(outer, self.timeout_ms / 1000)


class _Narrowed(Deadline):
    """Ends with *outer*, or after *timeout* seconds; it is cancelled as *outer* is."""

    def __init__(self, outer: Deadline, timeout: float) -> None:
        super().__init__(timeout)
        self._outer = outer
        self._seconds = timeout

    def left(self) -> float:
        return min(super().left(), self._outer.left())

    def cancel(self) -> None:
        self._outer.cancel()

    def check(self, name: str) -> None:
        self._outer.check(name)
        if self.left() <= 0:
            raise CallTimeout(
                f"{name} was not done within {self._seconds:g} s, the timeout_ms of its own manifest",
                hint="raise it there, or find out what the plugin is waiting for",
            )


def read_manifest(candidate: Candidate, wasm_sha256: str) -> Manifest:
    """
    The manifest beside the module of *candidate*; an empty one when there is none.

    Raises PluginRefused when it cannot be used, or is that of other bytes than *wasm_sha256* says.
    """
    module = Path(candidate.location)
    path = module.with_suffix(".json")
    data = _content(candidate.name, path)
    if data is None:
        return Manifest()
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.ValidationError as error:
        raise refused(candidate.name, path, f"is no manifest that can be kept: {error}", _KNOWN) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise refused(candidate.name, path, "is no JSON", _KNOWN) from None
    for entry in manifest.wasm:
        if entry.path is not None and Path(entry.path).name != module.name:
            raise refused(candidate.name, path, f"is the manifest of another module than {module.name}", _KNOWN)
        if entry.hash is not None and entry.hash.lower() != wasm_sha256:
            raise refused(candidate.name, path, "names another hash than the module beside it has", _KNOWN)
    return manifest


_KNOWN = (
    "a manifest may have allowed_hosts, timeout_ms, memory, config, and path and hash of one module; "
    "paths, URLs and several modules are not done here"
)


def _content(name: str, path: Path) -> bytes | None:
    try:
        with ProgramFile.open(path) as file:
            reason, hint = file.reason_against(None)
            if not reason and file.size() > _LARGEST:
                reason, hint = f"is larger than {_LARGEST} bytes", _KNOWN
            if reason:
                raise refused(name, path, reason, hint)
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(name, path, error) from None
