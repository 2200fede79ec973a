"""
Publishes all files of a directory at once, by one swap of a symbolic link, laid out as the kubelet's mounts are:

    ..2026_11_22_18_15_31.4f1e…/app/db.env   a generation: complete, synced, never changed
    ..data -> ..2026_11_22_18_15_31.4f1e…    the swap
    app -> ..data/app                        what users see, one link for each first component

Whoever holds `..data` open sees one generation; by path, two files may be of two. Differences from the kubelet: names
are unique, so that no leftover is in the way of a later writer; everything is synced; links for new names are made
before the swap, so that with it all of the new set is there, and those of old names go after it.

What killed writers leave behind is put right by the next call or `repair`.
"""

from __future__ import annotations

import contextlib
import os
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.errors import OutputError, OutputPartlyWritten
from injector.output.attributes import Attributes, holds
from injector.output.directories import Directories, sync_directory
from injector.output.failures import output_error
from injector.output.generations import (
    DATA,
    Generation,
    current_generation,
    entries,
    is_generation,
    is_left_switch,
    is_missing,
    read_link,
    remove_leftover,
)
from injector.output.publisher import Published
from injector.output.staging import sweep_open

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LONGEST_NAME = 255
_LONGEST_PATH = 4096


class SetFile(Struct, frozen=True):
    """
    One file of a set. `name` is a path below the set's directory, with `/`; the rest is as in PublishRequest.
    """

    name: str
    data: bytes
    mode: int = 0o600
    owner: int | None = None
    group: int | None = None

    def __post_init__(self) -> None:
        _ = self.attributes  # raises ValueError

    def __repr__(self) -> str:
        return f"SetFile({self.name!r}, {len(self.data)} bytes, {self.attributes})"

    @property
    def attributes(self) -> Attributes:
        """Mode, owner and group."""
        return Attributes(self.mode, self.owner, self.group)


def publish_set(directory: Path, files: Sequence[SetFile]) -> tuple[Published, ...]:
    """
    Makes *files* the whole content of *directory* (made when missing), all at once; answers in their order.

    `changed` says of each file whether the last generation had another content, mode, owner or group, or no such
    file. When nothing at all differs, nothing is written. Leftovers of killed writers are put right first, see
    `repair`. Files of earlier sets that are not among *files* are gone afterwards; what others have put into the
    directory stays. Two calls at once do no harm to each other's files, the later swap wins; see `ownership`.

    Raises:
        OutputPartlyWritten: the set is switched, and the disk failed after that; the message says at what.
        OutputError: a name is not acceptable, something else stands where a link must go, or the file system refuses.
            The old set is as it was, nothing temporary is left.
    """
    wanted = {check_name(file.name): file for file in files}
    _refuse_clashes(files, wanted)
    with Directories() as directories:
        try:
            root = directories.below(directory, Path()).descriptor
            current = current_generation(root)
            _put_right(root, current)
            _refuse_obstacles(root, wanted, directory)
            changed = _differing(root, current, wanted)
            if changed is not None:
                for grown in directories.grown.values():
                    sync_directory(grown.descriptor)
                _replace(root, current, wanted, directory)
            elif _make_links(root, _first(wanted)):
                sync_directory(root)
        except OSError as error:
            raise output_error(error, directory) from None
    differ = changed or frozenset()
    return tuple(Published(directory / name, name in differ) for name in wanted)


def repair(directory: Path) -> tuple[str, ...]:
    """
    Puts right what killed writers left in *directory*; returns the names that were removed or made.

    Half-made and replaced generations and their links go away; visible links are made where they are missing and
    removed where they lead nowhere. What living writers are making stays. No directory: nothing to do. Raises
    OutputError.
    """
    try:
        with Directories(make=False) as directories:
            root = directories.below(directory, Path()).descriptor
            current = current_generation(root)
            done = _put_right(root, current)
            done += _make_links(root, entries(root, current))
            if done:
                sync_directory(root)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise output_error(error, directory) from None
    return tuple(done)


def check_name(name: str) -> str:
    """
    The name of a file in a set, without `//` and `.`; refused by the kubelet's rules for paths in volumes.

    Raises OutputError: empty, absolute, with `..` or NUL, starting with `..`, a part longer than 255 bytes or all of
    it than 4096.
    """
    parts = PurePosixPath(name).parts
    problem = None
    if not parts:
        problem = "it is empty"
    elif name.startswith("/"):
        problem = "it is absolute"
    elif "\0" in name:
        problem = "it holds a NUL character"
    elif ".." in parts:
        problem = "it has a '..'"
    elif parts[0].startswith(".."):
        problem = "names that start with '..' are those of generations"
    elif len(os.fsencode(name)) > _LONGEST_PATH:
        problem = f"it is longer than {_LONGEST_PATH} bytes"
    elif any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        problem = f"a part of it is longer than {_LONGEST_NAME} bytes"
    if problem:
        shown = name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…"
        raise OutputError(f"{shown!r} is not the name of a file in a set: {problem}", hint="rename the template")
    return "/".join(parts)


def _refuse_clashes(files: Sequence[SetFile], wanted: Mapping[str, SetFile]) -> None:
    if len(wanted) < len(files):
        names = sorted(check_name(file.name) for file in files)
        double = next(one for one, other in pairwise(names) if one == other)
        raise OutputError(f"two results go to one file: {double}", hint="give each result a name of its own")
    for name in wanted:
        for above in PurePosixPath(name).parents:
            if str(above) in wanted:
                raise OutputError(f"{above} is a file, and the directory of {name}", hint="rename one of the two")


def _first(names: Mapping[str, SetFile]) -> list[str]:
    return list({name.split("/", 1)[0]: None for name in names})


def _refuse_obstacles(root: int, wanted: Mapping[str, SetFile], directory: Path) -> None:
    """Whatever stands where a link must go and is not that link is somebody's: it stays, and the set is refused."""
    for name in [DATA, *_first(wanted)]:
        leads_to = read_link(root, name)
        if leads_to is None and is_missing(root, name):
            continue
        if leads_to is None or (name != DATA and leads_to != f"{DATA}/{name}"):
            raise OutputError(
                f"cannot publish to {directory}: {name} is there and is not a link of a set",
                hint="move it away, or publish to a directory of its own",
            )


def _differing(root: int, current: str | None, wanted: Mapping[str, SetFile]) -> frozenset[str] | None:
    """The names of *wanted* that the current generation has not just so; None when it is the very set."""
    if current is None:
        return frozenset(wanted)
    same: set[str] = set()
    others = False
    for path, directories, names, descriptor in os.fwalk(current, dir_fd=root):
        others = others or any(read_link(descriptor, name) is not None for name in directories)
        for name in names:
            relative = f"{path}/{name}".removeprefix(f"{current}/")
            file = wanted.get(relative)
            others = others or file is None
            if file is not None and holds(descriptor, name, file.data, file.attributes):
                same.add(relative)
    if not others and len(same) == len(wanted):
        return None
    return frozenset(wanted) - same


def _replace(root: int, current: str | None, wanted: Mapping[str, SetFile], directory: Path) -> None:
    with Generation(root) as generation:
        for name, file in wanted.items():
            try:
                generation.write(name, file.data, file.attributes)
            except OSError as error:
                raise output_error(error, directory / name) from None
        generation.sync()
        generation.links += _make_links(root, _first(wanted))
        sync_directory(root)  # what the swap will lead to is on disk before it
        generation.switch()
        try:
            sync_directory(root)
            _make_links(root, _first(wanted))  # another writer may have taken them for leftovers
            _put_right(root, current_generation(root), replaced=current)
        except OSError as error:
            raise OutputPartlyWritten(
                f"the set in {directory} has its new content, but not surely on disk, or something of the old one is "
                f"left ({os.strerror(error.errno or 0)})",
                hint="check the disk; the next run puts the rest right",
            ) from None


def _make_links(root: int, names: Sequence[str]) -> list[str]:
    """Makes the visible links that are missing; all of them or, with an OSError, none."""
    made: list[str] = []
    try:
        for name in names:
            if is_missing(root, name):
                os.symlink(f"{DATA}/{name}", name, dir_fd=root)
                made.append(name)
    except OSError:
        for name in made:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=root)
        raise
    return made


def _put_right(root: int, current: str | None, *, replaced: str | None = None) -> list[str]:
    """Removes leftovers: temporary files and links, generations, visible links of names that *current* lacks."""
    kept = set(entries(root, current))
    done = list(sweep_open(root))
    names = os.listdir(root)
    for name in names:
        stale = name not in kept and read_link(root, name) == f"{DATA}/{name}"
        if stale or is_left_switch(root, name, names):
            done += _unlink(root, name)
    for name in names:
        if is_generation(name) and name != current:
            done += remove_leftover(root, name, surely=name == replaced)
    return done


def _unlink(root: int, name: str) -> list[str]:
    try:
        os.unlink(name, dir_fd=root)
    except FileNotFoundError:
        return []
    return [name]
