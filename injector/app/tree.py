"""Walks a directory of templates: which files are in it, in which order, and what is wrong with it."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from msgspec import Struct, field

from injector.app.mounts import Generation, current_generation
from injector.errors import InjectorError, InputChanged, InputError, InputLoop
from injector.output.staging import is_temporary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Identity = tuple[int, int]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MOST_ENTRIES = 250_000  # links that fan out again and again end here instead of never


class FoundFile(Struct, frozen=True):
    """A regular file: `relative` to the walked directory, with `/`; `inside` its `generation`, if it is of one."""

    relative: str
    generation: Generation | None
    inside: str


class _Entry(Struct, frozen=True):
    """A name in an open directory, and where that directory stands in the walk."""

    name: str
    directory: int
    relative: str
    generation: Generation | None
    inside: str


class Walk(Struct):
    """
    One walk below `root`; `files` and `problems` are its result, the latter each with where it is, relative to `root`.

    `skip` is a directory (device, inode) below the root that is not entered. `warn` is told what is left out.
    `generations` are shared by the walks of one collection, so that all of them see the same ones.
    """

    root: Path
    skip: Identity | None
    warn: Callable[[str], None]
    generations: dict[Identity, Generation | None]
    files: list[FoundFile] = field(default_factory=list)
    problems: list[tuple[str, InjectorError]] = field(default_factory=list)
    _entries: int = 0

    def run(self) -> None:
        """Walks. Raises InputChanged when a mount was replaced meanwhile: what was found is incomplete then."""
        self._directory(_Entry(os.fspath(self.root), -1, "", None, ""), ())
        for generation in self.generations.values():
            if generation is not None and not generation.is_current():
                raise InputChanged(f"{generation.path} was replaced while it was read")

    def _directory(self, entry: _Entry, chain: tuple[Identity, ...]) -> None:
        path = self.root / entry.relative
        try:
            descriptor = os.open(entry.name, _DIRECTORY, dir_fd=entry.directory if entry.directory >= 0 else None)
        except OSError as error:
            self.problems.append((entry.relative, unreadable(error, path, "directory")))
            return
        try:
            status = os.fstat(descriptor)
            identity = (status.st_dev, status.st_ino)
            if identity in chain:
                loop = InputLoop(f"{path} leads back to a directory that it is in", hint="remove the symbolic link")
                self.problems.append((entry.relative, loop))
            elif not chain or identity != self.skip:
                self._contents(entry, descriptor, identity, (*chain, identity))
        except OSError as error:
            self.problems.append((entry.relative, unreadable(error, path, "directory")))
        finally:
            os.close(descriptor)

    def _contents(self, entry: _Entry, descriptor: int, identity: Identity, chain: tuple[Identity, ...]) -> None:
        if identity not in self.generations:
            self.generations[identity] = current_generation(self.root / entry.relative, descriptor)
        for child in _children(entry, descriptor, self.generations[identity]):
            self._entries += 1
            if self._entries > _MOST_ENTRIES:
                raise InputError(
                    f"{self.root} has more than {_MOST_ENTRIES} entries", hint="is it the right directory?"
                )
            self._entry(child, chain)

    def _entry(self, entry: _Entry, chain: tuple[Identity, ...]) -> None:
        try:
            kind = os.stat(entry.name, dir_fd=entry.directory).st_mode
        except FileNotFoundError:
            self._missing(entry)
        except OSError as error:
            self.problems.append((entry.relative, unreadable(error, self.root / entry.relative, "file")))
        else:
            if stat.S_ISDIR(kind):
                self._directory(entry, chain)
            elif stat.S_ISREG(kind):
                self.files.append(FoundFile(entry.relative, entry.generation, entry.inside))
            else:
                self.warn(f"{self.root / entry.relative} is left out: it is no file but a {kind_of(kind)}")

    def _missing(self, entry: _Entry) -> None:
        try:
            os.lstat(entry.name, dir_fd=entry.directory)
        except FileNotFoundError:
            return  # removed since it was listed
        nothing = InputError(
            f"{self.root / entry.relative} is a symbolic link to nothing", hint="correct the link, or remove it"
        )
        self.problems.append((entry.relative, nothing))


def _children(parent: _Entry, descriptor: int, generation: Generation | None) -> Iterator[_Entry]:
    """What is in a directory, by name. In a mount the generation tells what is there, not the links to it."""
    prefix = f"{parent.relative}/" if parent.relative else ""
    inside = f"{parent.inside}/" if parent.inside else ""
    found: dict[str, _Entry] = {}
    for name in _names(descriptor):
        if generation is None or not generation.holds(name, descriptor):
            found[name] = _Entry(name, descriptor, prefix + name, parent.generation, inside + name)
    if generation is not None:
        for name in _names(generation.descriptor):
            found[name] = _Entry(name, generation.descriptor, prefix + name, generation, name)
    for name in sorted(found):
        yield found[name]


def _names(descriptor: int) -> list[str]:
    return [name for name in os.listdir(descriptor) if not name.startswith("..") and not is_temporary(name)]


def unreadable(error: OSError, path: Path | str, what: str) -> InputError:
    """The InputError that tells why the file system does not let *path* be read."""
    if error.errno == errno.ELOOP:
        return InputLoop(f"{path}: its symbolic links lead in a circle", hint="correct the links")
    if isinstance(error, PermissionError):
        return InputError(
            f"the {what} {path} may not be read by uid {os.geteuid()}", hint="check its owner, group and mode"
        )
    return InputError(f"the {what} {path} cannot be read: {os.strerror(error.errno or 0)}")


def kind_of(mode: int) -> str:
    """What a file that is none is called."""
    if stat.S_ISFIFO(mode):
        return "named pipe"
    return "socket" if stat.S_ISSOCK(mode) else "device"
