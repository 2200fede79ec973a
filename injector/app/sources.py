"""From the inputs of the command line to the templates: which there are, what they will be called, what they hold."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.app.mounts import Generation, current_generation
from injector.app.tree import Walk, kind_of, unreadable
from injector.errors import (
    InjectorError,
    InputChanged,
    InputCollision,
    InputError,
    InputNotFound,
    RunFailed,
    UsageError,
)
from injector.model.template import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import BinaryIO

    from injector.app.tree import FoundFile, Identity

STDIN = "-"
TEMPLATE_SUFFIXES = (".tmpl", ".tpl", ".cm")
_LOOKS = 5
_ATTEMPTS = 50  # a mount that is replaced faster than it can be read is broken


class TemplateFile(Struct, frozen=True):
    """
    A template that is to be read.

    `name` is what messages call it; `input` is the argument it comes from, and `in_directory` whether that was a
    directory. `path` is None for standard input. `output` is where its result goes, relative to an output directory:
    the place in the tree, `/` between the parts, without a trailing .tmpl, .tpl or .cm; empty for standard input.
    `generation` and `inside` are set for a file of a mounted ConfigMap or Secret: it is read from there.
    """

    name: str
    input: str
    output: str
    path: str | None
    in_directory: bool = False
    generation: Generation | None = None
    inside: str = ""


class Survey(Struct, frozen=True):
    """
    What was found when nothing was allowed to spoil the whole.

    `problems` have the name of what they are of: a template, a directory, an input. A template of `files` with one may
    not have its output. What lies below a directory with one is not known. `missing` are the inputs that do not exist.
    """

    files: tuple[TemplateFile, ...]
    problems: tuple[tuple[str, InjectorError], ...]
    missing: frozenset[str] = frozenset()


def collect(
    inputs: Sequence[str], *, output_dir: Path | None, warn: Callable[[str], None] | None = None
) -> tuple[TemplateFile, ...]:
    """
    The templates of *inputs* (files, directories, `-`), in the order given, a directory's sorted by path.

    Directories are walked with all that is below; links are followed; names that start with `..` are passed over, and
    so is *output_dir* when it lies inside. When it is the input directory itself, a file `x` beside an `x.tmpl` is
    what an earlier run made of it, and no template. *warn* is told about named pipes, sockets and devices, which are
    passed over, too. All files of a mounted ConfigMap or Secret are of one generation; see `gather`.

    Raises InputNotFound, InputLoop, InputCollision (two templates, one output), InputError, UsageError for a `-` that
    cannot be, and RunFailed for several of them.
    """
    found = survey(inputs, output_dir=output_dir, warn=warn)
    _raise(problem for _, problem in found.problems)
    return found.files


def survey(inputs: Sequence[str], *, output_dir: Path | None, warn: Callable[[str], None] | None = None) -> Survey:
    """`collect`, which does not raise but tells of each problem where it is. Raises InputError for a mount that is
    replaced faster than it can be looked at."""
    for _ in range(_ATTEMPTS):
        warnings: list[str] = []
        try:
            found = _Collection(output_dir, warnings.append).survey(inputs)
        except InputChanged:
            continue
        for warning in warnings:
            if warn is not None:
                warn(warning)
        return found
    raise _never_still(inputs)


def read(file: TemplateFile, *, stdin: BinaryIO | None = None) -> Source:
    """
    The whole template. *stdin* is the process's own unless given.

    Raises InputNotFound or InputError; InputChanged when the generation that *file* is of was removed since: collect
    again, or let `gather` do it.
    """
    if file.path is None:
        return Source(file.name, (stdin or sys.stdin.buffer).read())
    try:
        with io.FileIO(_open(file)) as stream:
            if file.in_directory and not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise InputError(f"{file.path} is no regular file any more", hint="remove it from the directory")
            return Source(file.name, stream.readall())
    except FileNotFoundError:
        if file.generation is not None:
            raise InputChanged(f"{file.name} was replaced while it was read") from None
        raise _not_found(Path(file.path)) from None
    except IsADirectoryError:
        raise InputError(f"{file.path} is a directory", hint="name a file") from None
    except OSError as error:
        raise unreadable(error, file.path, "file") from None


def gather(
    inputs: Sequence[str],
    *,
    output_dir: Path | None,
    warn: Callable[[str], None] | None = None,
    stdin: BinaryIO | None = None,
) -> tuple[tuple[TemplateFile, Source], ...]:
    """
    `collect` and `read` in one, again and again until no mounted set was replaced in between.

    Standard input and what is in no mount is read once. Raises as they do, all errors together.
    """
    kept: dict[str, Source] = {}
    for _ in range(_ATTEMPTS):
        files = collect(inputs, output_dir=output_dir, warn=warn)
        warn = None  # told once
        problems: list[InjectorError] = []
        sources: list[Source] = []
        for file in files:
            try:
                source = kept.get(file.name) or read(file, stdin=stdin)
            except InjectorError as error:
                problems.append(error)
                continue
            sources.append(source)
            if file.generation is None:
                kept[file.name] = source
        if any(isinstance(problem, InputChanged) for problem in problems):
            continue
        _raise(problems)
        return tuple(zip(files, sources, strict=True))
    raise _never_still(inputs)


def several_for_one(count: int) -> UsageError:
    """What is wrong when *count* templates are to go to one file."""
    return UsageError(
        f"there are {count} templates, and the output is one file",
        hint="give --output-dir DIR to write each to a file of its own",
    )


def output_name(name: str) -> str:
    """*name* (a last component) without a trailing .tmpl, .tpl or .cm, unless nothing were left."""
    for suffix in TEMPLATE_SUFFIXES:
        if name.endswith(suffix) and name != suffix:
            return name.removesuffix(suffix)
    return name


class _Collection:
    """One attempt at collecting."""

    def __init__(self, output_dir: Path | None, warn: Callable[[str], None]) -> None:
        self._output_dir = output_dir
        self._output = _identity(output_dir) if output_dir is not None else None
        self._warn = warn
        self._generations: dict[Identity, Generation | None] = {}
        self._problems: list[tuple[str, InjectorError]] = []

    def survey(self, inputs: Sequence[str]) -> Survey:
        files: list[TemplateFile] = []
        missing: set[str] = set()
        for given in inputs:
            try:
                files += self._input(given)
            except InputChanged:
                raise
            except InjectorError as error:
                self._problems.append((_shown(given), error))
                if isinstance(error, InputNotFound):
                    missing.add(_shown(given))
        if inputs.count(STDIN) > 1:
            twice = UsageError("standard input (-) can be read only once", hint="name '-' once")
            self._problems.append((STDIN, twice))
        if self._output_dir is not None:
            for collision, names in _collisions(files):
                self._problems += [(name, collision) for name in names]
        return Survey(tuple(files), tuple(self._problems), frozenset(missing))

    def _input(self, given: str) -> Iterable[TemplateFile]:
        if given == STDIN:
            if self._output_dir is not None:
                raise UsageError(
                    "standard input has no name below an output directory", hint="write it to one file with --output"
                )
            return [TemplateFile("<stdin>", given, "", None)]
        path = Path(given)
        try:
            status = _status(path)
        except FileNotFoundError:
            raise _not_found(path) from None
        except OSError as error:
            raise unreadable(error, path, "file") from None
        except ValueError:
            raise InputError(f"{_shown(given)} is not a path", hint="a path holds no NUL character") from None
        if stat.S_ISDIR(status.st_mode):
            return self._directory(given, in_place=(status.st_dev, status.st_ino) == self._output)
        if stat.S_ISSOCK(status.st_mode):
            raise InputError(f"{path} is a {kind_of(status.st_mode)}", hint="name a file or a directory")
        return [self._file(given, path)]

    def _file(self, given: str, path: Path) -> TemplateFile:
        generation = self._generation_of(path)
        inside = path.name if generation else ""
        output = output_name(path.name)
        return TemplateFile(_shown(given), given, output, str(path), generation=generation, inside=inside)

    def _generation_of(self, path: Path) -> Generation | None:
        """Two files of one mount, named one by one, are still of one generation."""
        try:
            visible = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None  # the file itself may be readable all the same
        try:
            status = os.fstat(visible)
            identity = (status.st_dev, status.st_ino)
            if identity not in self._generations:
                self._generations[identity] = current_generation(path.parent, visible)
            generation = self._generations[identity]
            return generation if generation and generation.holds(path.name, visible) else None
        finally:
            os.close(visible)

    def _directory(self, given: str, *, in_place: bool) -> Iterable[TemplateFile]:
        walk = Walk(Path(given), self._output, self._warn, self._generations)
        walk.run()
        base = str(Path(given))
        start = "" if base == "." else f"{base.rstrip('/')}/"
        self._problems += [(_shown(str(Path(given, relative))), problem) for relative, problem in walk.problems]
        if not walk.files and not walk.problems:
            self._warn(f"{given} holds no templates")
        files = [_found(given, f"{start}{found.relative}", found) for found in walk.files]
        if not in_place:
            return files
        made = {file.output for file, found in zip(files, walk.files, strict=True) if file.output != found.relative}
        return [
            file
            for file, found in zip(files, walk.files, strict=True)
            if file.output != found.relative or file.output not in made
        ]


def _found(given: str, path: str, found: FoundFile) -> TemplateFile:
    directory, slash, name = found.relative.rpartition("/")
    return TemplateFile(
        name=_shown(path),
        input=given,
        output=f"{directory}{slash}{output_name(name)}",
        path=path,
        in_directory=True,
        generation=found.generation,
        inside=found.inside,
    )


def _collisions(files: Iterable[TemplateFile]) -> Iterable[tuple[InputCollision, tuple[str, str]]]:
    by_output: dict[str, TemplateFile] = {}
    hint = "rename one of them, or render them to two directories"
    for file in files:
        other = by_output.setdefault(file.output, file)
        if other is not file:
            both = f"{other.name} and {file.name} would both be written to {file.output}"
            yield InputCollision(both, hint=hint), (other.name, file.name)
    for output, file in by_output.items():
        parent = output
        while parent := parent.rpartition("/")[0]:
            if (other_ := by_output.get(parent)) is not None:
                between = f"{other_.name} would be a file where {file.name} needs a directory"
                yield InputCollision(between, hint=hint), (other_.name, file.name)


def _open(file: TemplateFile) -> int:
    assert file.path is not None
    # Named on the command line, a pipe is waited for; one that turns up in a directory is not.
    flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if file.in_directory else 0)
    if file.generation is not None:
        return os.open(file.inside, flags, dir_fd=file.generation.descriptor)
    return os.open(file.path, flags)


def _status(path: Path) -> os.stat_result:
    # A link into a mount may lead to a generation that was removed this moment: it leads to the next one now.
    for _ in range(_LOOKS - 1):
        with contextlib.suppress(FileNotFoundError):
            return path.stat()
    return path.stat()


def _identity(path: Path) -> Identity | None:
    try:
        status = path.stat()
    except OSError:
        return None  # not there yet; whether it can be is found out when it is made
    return (status.st_dev, status.st_ino)


def _not_found(path: Path) -> InputNotFound:
    if path.is_symlink():
        return InputNotFound(f"{path} is a symbolic link to nothing", hint="correct the link")
    return InputNotFound(f"{path} does not exist", hint="check the path; it is relative to the current directory")


def _never_still(inputs: Sequence[str]) -> InputError:
    return InputError(
        f"{', '.join(map(_shown, inputs))}: replaced again and again while being read", hint="try again later"
    )


def _shown(name: str) -> str:
    """A path as text that any stream can print: file names are bytes, and need not be UTF-8."""
    if name.isascii() and name.isprintable():
        return name
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _raise(problems: Iterable[InjectorError]) -> None:
    problems = [*{id(problem): problem for problem in problems}.values()]  # one collision is two templates'
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise RunFailed(problems)
