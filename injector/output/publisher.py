"""Publishes a set of files: all staged first, then switched by rename, one after the other."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.errors import OutputError, OutputOutsideRoot, OutputPartlyWritten
from injector.model.policy import WriteMode
from injector.output.attributes import Attributes, holds
from injector.output.directories import Directories, Directory, sync_directory
from injector.output.failures import output_error
from injector.output.inplace import overwrite
from injector.output.staging import Staging, sweep_open
from injector.output.streams import is_stream, own_descriptor, write_stream
from injector.output.syncing import AT_ONCE, Syncing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class PublishRequest(Struct, frozen=True):
    """
    One file to be written.

    `target` is a path below `root` when there is a root (then missing directories are made, 0755 less umask), and
    any path otherwise (then its directory must exist). `mode` are the permission bits, at most 0777; `owner` and
    `group` are ids, None for what the file system gives a new file: the process's own, and in a directory with the
    setgid bit the directory's group. `write` is RENAME or IN_PLACE; sets are published by `sets.publish_set`.
    """

    target: Path
    data: bytes
    mode: int = 0o600
    root: Path | None = None
    owner: int | None = None
    group: int | None = None
    write: WriteMode = WriteMode.RENAME

    def __post_init__(self) -> None:
        _ = self.attributes  # raises ValueError
        if self.write is WriteMode.SET:
            raise ValueError("a set is not a single file")

    def __repr__(self) -> str:
        return f"PublishRequest({str(self.path)!r}, {len(self.data)} bytes, {self.attributes})"

    @property
    def attributes(self) -> Attributes:
        """Mode, owner and group."""
        return Attributes(self.mode, self.owner, self.group)

    @property
    def path(self) -> Path:
        """The whole path, for messages."""
        return self.root / self.target if self.root else self.target


class Published(Struct, frozen=True):
    """What became of a request. `changed` is false when the file had these bytes, mode, owner and group already."""

    path: Path
    changed: bool


class _Job(Struct, frozen=True):
    """
    A request whose directory is open; `directory` is None for a stream that is addressed by its path.

    `in_place`: there is a file, and it is to be overwritten. A missing one is made like any other.
    """

    request: PublishRequest
    directory: Directory | None
    stream: bool = False
    in_place: bool = False

    @property
    def name(self) -> str:
        return self.request.target.name

    @property
    def descriptor(self) -> int:
        assert self.directory is not None
        return self.directory.descriptor


def publish(requests: Sequence[PublishRequest]) -> tuple[Published, ...]:
    """
    Writes all files or none; answers in the order of *requests*.

    Every file that differs is staged next to its target (complete, synced, with its final mode), then all are
    renamed in order, then each directory is synced once. A reader sees the old file or the new one, at any moment of
    any crash. A file with the same bytes, mode, owner and group is left alone. Leftovers of killed writers are swept
    first. Only files that are to be written in place are overwritten, between staging and the first rename, see
    `injector.output.inplace` for what that can and cannot promise.

    A symbolic link as a target's last part is replaced, never followed; but a device, a named pipe or one of our own
    descriptors (`/dev/stdout`), also at the end of a link of a target without root, is written to, after staging and
    before the first rename.

    Raises:
        OutputOutsideRoot: a target leads out of its root.
        OutputPartlyWritten: a rename failed after others had been done; the message names those. Or a file that is
            written in place could not be restored after an error.
        OutputError: anything else that the file system refuses; no file has changed, nothing temporary is left.
    """
    with Directories() as directories:
        jobs = [_locate(directories, request) for request in requests]
        _refuse_doubles(jobs)
        files = [job for job in jobs if not job.stream]
        owners = {request.owner for request in requests if request.owner is not None}
        for directory in _distinct(files):
            with contextlib.suppress(OSError):  # never a reason to fail: whatever is wrong speaks up at the writing
                sweep_open(directory.descriptor, owners)
        changed = [job for job in files if not _is_current(job)]
        _write(changed, streams=[job for job in jobs if job.stream], grown=directories.grown.values())
    rewritten = {id(job) for job in changed}
    return tuple(Published(job.request.path, job.stream or id(job) in rewritten) for job in jobs)


def _locate(directories: Directories, request: PublishRequest) -> _Job:
    path = request.path
    if request.target.name in ("", ".."):
        kind = OutputOutsideRoot if request.root and ".." in request.target.parts else OutputError
        raise kind(f"{path} is not the name of a file", hint="name a file")
    try:
        if request.root is None:
            if own_descriptor(path) is not None or is_stream(_status(path)):
                return _Job(request, None, stream=True)
            directory = directories.at(path.parent)
        else:
            directory = directories.below(request.root, request.target.parent)
        status = _status(Path(request.target.name), directory.descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise output_error(error, path) from None
    except ValueError:
        raise OutputError(f"{path!r} is not a path", hint="a path holds no NUL character") from None
    stream = is_stream(status)
    in_place = request.write is WriteMode.IN_PLACE and status is not _NOTHING and not stream
    return _Job(request, directory, stream=stream, in_place=in_place)


_NOTHING = os.stat_result((stat.S_IFREG, *[0] * 9))


def _status(path: Path, directory: int | None = None) -> os.stat_result:
    """What is there; a regular file when there is nothing. Links are followed only from a path of its own."""
    try:
        return os.stat(path, dir_fd=directory, follow_symlinks=directory is None)
    except OSError as error:
        # A link in a circle is still one that can be replaced; anything else speaks up when the directory is opened.
        if directory is None or error.errno == errno.ENOENT:
            return _NOTHING
        raise


def _refuse_doubles(jobs: Iterable[_Job]) -> None:
    seen: dict[tuple[tuple[int, int], str], _Job] = {}
    for job in jobs:
        if job.directory is None:
            continue
        other = seen.setdefault((job.directory.identity, job.name), job)
        if other is not job:
            raise OutputError(
                f"two results go to one file: {other.request.path} and {job.request.path}",
                hint="give each result a name of its own",
            )


def _distinct(jobs: Iterable[_Job]) -> list[Directory]:
    return list({job.directory.identity: job.directory for job in jobs if job.directory}.values())


def _is_current(job: _Job) -> bool:
    return holds(job.descriptor, job.name, job.request.data, job.request.attributes)


def _write(changed: Sequence[_Job], *, streams: Sequence[_Job], grown: Iterable[Directory]) -> None:
    overwritten = [job for job in changed if job.in_place]
    replaced = [job for job in changed if not job.in_place]
    stagings = {directory.identity: Staging(directory.descriptor) for directory in _distinct(replaced)}
    try:
        staged = _stage(replaced, stagings)
        for job in streams:
            _write_stream(job)
        _overwrite(overwritten)
        _switch(replaced, staged, stagings, done=overwritten)
        _sync_directories([*_distinct(replaced), *grown], replaced)
    finally:
        for staging in stagings.values():
            staging.discard()


def _stage(changed: Sequence[_Job], stagings: dict[tuple[int, int], Staging]) -> dict[int, str]:
    """Temporary names by position. Of each directory the last file goes first: it is the anchor, renamed last."""
    last = {_identity(job): index for index, job in enumerate(changed)}
    anchors = set(last.values())
    order = [*anchors, *(i for i in range(len(changed)) if i not in anchors)]
    staged: dict[int, str] = {}
    with Syncing() as syncing:
        for start in range(0, len(order), AT_ONCE):
            together = order[start : start + AT_ONCE]
            names = _stage_together([changed[index] for index in together], stagings, syncing)
            staged.update(zip(together, names, strict=True))
    return staged


def _stage_together(jobs: Sequence[_Job], stagings: dict[tuple[int, int], Staging], syncing: Syncing) -> list[str]:
    """Writes and syncs a few; their temporary names."""
    written: list[tuple[Staging, str, int]] = []
    try:
        for job in jobs:
            staging = stagings[_identity(job)]
            try:
                written.append((staging, *staging.write(job.request.data, *_attributes(job))))
            except OSError as error:
                raise output_error(error, job.request.path) from None
        synced = syncing.sync([descriptor for *_, descriptor in written])
    finally:
        closed = [staging.close(descriptor) for staging, _, descriptor in written]
    for job, *refusals in zip(jobs, synced, closed, strict=True):
        for refused in filter(None, refusals):
            raise output_error(refused, job.request.path)
    return [name for _, name, _ in written]


def _attributes(job: _Job) -> tuple[int, int | None, int | None]:
    return job.request.mode, job.request.owner, job.request.group


def _identity(job: _Job) -> tuple[int, int]:
    assert job.directory is not None
    return job.directory.identity


def _write_stream(job: _Job) -> None:
    request = job.request
    try:
        if job.directory is None:
            write_stream(request.path, request.data)
        else:
            write_stream(request.path, request.data, name=job.name, directory=job.descriptor)
    except OSError as error:
        raise output_error(error, request.path) from None


def _overwrite(jobs: Sequence[_Job]) -> None:
    for index, job in enumerate(jobs):
        request = job.request
        try:
            overwrite(job.descriptor, job.name, request.data, request.attributes, path=request.path)
        except OutputError as error:
            raise _partly(error, jobs[:index]) from None


def _switch(
    changed: Sequence[_Job], staged: dict[int, str], stagings: dict[tuple[int, int], Staging], *, done: Sequence[_Job]
) -> None:
    for index, job in enumerate(changed):
        try:
            stagings[_identity(job)].switch(staged[index], job.name)
        except OSError as error:
            raise _partly(output_error(error, job.request.path), [*done, *changed[:index]]) from None


def _partly(refused: OutputError, done: Sequence[_Job]) -> OutputError:
    """*refused*, and which files have their new content all the same."""
    if not done:
        return refused
    names = ", ".join(str(job.request.path) for job in done)
    return OutputPartlyWritten(f"{refused.message}; already switched to their new content: {names}", hint=refused.hint)


def _sync_directories(directories: Iterable[Directory], changed: Sequence[_Job]) -> None:
    for directory in {directory.identity: directory for directory in directories}.values():
        try:
            sync_directory(directory.descriptor)
        except OSError as error:
            done = ", ".join(str(job.request.path) for job in changed)
            raise OutputPartlyWritten(
                f"written, but not surely on disk: {done} ({os.strerror(error.errno or 0)})",
                hint="check the disk; the files have their new content, which a power failure may still undo",
            ) from None
