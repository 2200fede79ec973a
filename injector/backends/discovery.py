"""
Where plugins are found: a listing of directories and of the distribution's entry points. Nothing is run or kept.

For prefix AWSPARAMSTR on linux/amd64 the file is `awsparamstr/awsparamstr-linux-amd64`, for a WASM module
`awsparamstr/awsparamstr.wasm`, in the first place that has it. A file that is there and may not or cannot be run is
refused with its reason; the search does not go on behind it, or a broken installation would quietly be answered by
another program.
"""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from injector.backends.executables import Platform, this_platform
from injector.backends.program_file import ProgramFile, is_there, refused, unreadable
from injector.errors import PluginNotFound, PluginPathNotFound, PluginRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from injector.backends.lockfile import LockEntry

ENTRY_POINT_GROUP = "injector.plugins"
WASM_MAGIC = b"\0asm"
"""What every WASM module begins with."""

SYSTEM_DIRECTORY = Path("/usr/local/lib/injector/plugins")
"""For all users of a machine; in the container image, and where an image volume with plugins is mounted."""
_PREFIX = re.compile(r"[A-Z][A-Z0-9_]*")


class Kind(StrEnum):
    """goplugin: a program file · wasm: a module · distribution: a Python module that came with an installed package."""

    GOPLUGIN = "goplugin"
    WASM = "wasm"
    DISTRIBUTION = "distribution"


class SearchPlace(Struct, frozen=True):
    """A directory of plugin folders, and why it is looked into."""

    directory: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.directory} ({self.reason})"


class SearchPath(Struct, frozen=True):
    """The places in the order in which they are asked; the distribution's plugins come after them."""

    places: tuple[SearchPlace, ...]
    platform: Platform

    @classmethod
    def from_environment(
        cls, explicit: Sequence[Path] | None, env: Mapping[str, str], cwd: Path, home: Path | None
    ) -> SearchPath:
        """
        The search path of a run.

        Args:
            explicit: the directories that were asked for by `--plugin-path` or INJECTOR_PLUGIN_PATH; when given,
                no other directory is looked into. Relative ones start at *cwd*.
            env: CONFIGMANAGER_DIR is read from it.
            cwd: the current directory.
            home: the user's home directory; None when there is none, as in many containers.

        Raises:
            PluginPathNotFound: an explicit path is not a directory.
        """
        if explicit:
            places = [SearchPlace(_existing(cwd / path), "plugin path") for path in explicit]
        else:
            inner = Path(".configmanager", "plugins")
            places = [SearchPlace(cwd / inner, "current directory")]
            if env.get("CONFIGMANAGER_DIR"):
                places.insert(0, SearchPlace(cwd / env["CONFIGMANAGER_DIR"] / inner, "$CONFIGMANAGER_DIR"))
            if home is not None:
                places.append(SearchPlace(home / inner, "home directory"))
            places.append(SearchPlace(SYSTEM_DIRECTORY, "system"))
        return cls(places=tuple(places), platform=this_platform())


def _existing(directory: Path) -> Path:
    if not directory.is_dir():
        raise PluginPathNotFound(
            f"plugin path {directory} is not a directory",
            hint="create it, or correct --plugin-path / INJECTOR_PLUGIN_PATH",
        )
    return directory


class Candidate(Struct, frozen=True):
    """
    A plugin that was found.

    `argv` is what starts it; empty for a WASM module. `location` is its file, or the command for a plugin of the
    distribution. `refusal` says why it is not run. `loses_to` is the location of the candidate that is used instead.
    `pin` is what the program's bytes have to be when it is started; None when they are not held to anything.
    """

    prefix: str
    kind: Kind
    location: str
    argv: tuple[str, ...]
    origin: str
    refusal: PluginRefused | None = None
    loses_to: str | None = None
    pin: LockEntry | None = None

    @property
    def name(self) -> str:
        """The prefix as plugins write it: in lower case."""
        return self.prefix.lower()

    def __str__(self) -> str:
        return f"plugin {self.name} ({self.location})"


def find(search: SearchPath, prefix: str) -> Candidate:
    """
    The plugin that answers for *prefix*.

    Raises:
        PluginRefused: the first one found may not or cannot be run, or there are only files for other platforms.
        PluginNotFound: there is none; the hint lists the file's name and every place.
    """
    for candidate in _candidates(search, prefix):
        if candidate.refusal is not None:
            raise candidate.refusal
        return candidate
    elsewhere = _foreign_files(search, prefix)
    if elsewhere:
        raise _refused_as_foreign(prefix, elsewhere, search.platform)
    raise _not_found(search, prefix)


def discover(search: SearchPath) -> tuple[Candidate, ...]:
    """
    Every candidate, by prefix and in the order of the search: for people to look at.

    The first of a prefix is the one that is used, or that is reported when it is refused; the others have `loses_to`.
    """
    found: list[Candidate] = []
    for prefix in sorted(prefixes(search) | distribution_prefixes()):
        candidates = list(_candidates(search, prefix))
        elsewhere = _foreign_files(search, prefix)
        if not candidates and elsewhere:
            refusal = _refused_as_foreign(prefix, elsewhere, search.platform)
            where = str(elsewhere[0].parent.parent)
            found.append(Candidate(prefix, Kind.GOPLUGIN, str(elsewhere[0]), (), where, refusal))
        found += candidates[:1]
        found += [replace(candidate, loses_to=candidates[0].location) for candidate in candidates[1:]]
    return tuple(found)


def prefixes(search: SearchPath) -> frozenset[str]:
    """The prefixes for which a folder exists in the search path. A directory that cannot be listed has none."""
    return frozenset(name.upper() for place in search.places for name in _folders(place.directory))


def distribution_prefixes() -> frozenset[str]:
    """The prefixes of the plugins that installed packages bring (entry points, group `injector.plugins`)."""
    return frozenset(_distribution_modules())


def _folders(directory: Path) -> Iterator[str]:
    try:
        entries = list(directory.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name == entry.name.lower() and _PREFIX.fullmatch(entry.name.upper()) and entry.is_dir():
            yield entry.name


def _candidates(search: SearchPath, prefix: str) -> Iterator[Candidate]:
    for place in search.places:
        yield from _in_place(place, prefix, search.platform)
    module = _distribution_modules().get(prefix)
    if module is not None:
        # -P: the current directory is no place to import from, whatever file of that name lies in it.
        argv = (sys.executable, "-P", "-m", module)
        yield Candidate(prefix, Kind.DISTRIBUTION, f"python -m {module}", argv, "installed package")


def _distribution_modules() -> Mapping[str, str]:
    """Module by prefix."""
    return _installed(tuple(sys.path))


@lru_cache(maxsize=1)
def _installed(_: tuple[str, ...]) -> Mapping[str, str]:
    # Once for each path: every installed package is opened for it, 0.1 ms each, and a sidecar asks at every look.
    import importlib.metadata  # late: start-up

    entries = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return {entry.name.upper(): entry.value for entry in entries if _PREFIX.fullmatch(entry.name.upper())}


def _in_place(place: SearchPlace, prefix: str, platform: Platform) -> Iterator[Candidate]:
    name = prefix.lower()
    program = place.directory / name / f"{name}-{platform.file_suffix}"
    if is_there(program):
        refusal = _program_refusal(name, program, platform)
        yield Candidate(prefix, Kind.GOPLUGIN, str(program), (str(program),), str(place), refusal)
    module = place.directory / name / f"{name}.wasm"
    if is_there(module):
        refusal = _module_refusal(name, module)
        yield Candidate(prefix, Kind.WASM, str(module), (), str(place), refusal)


def _program_refusal(name: str, path: Path, platform: Platform) -> PluginRefused | None:
    try:
        with ProgramFile.open(path) as program:
            reason, hint = program.reason_against(platform)
    except OSError as error:
        return unreadable(name, path, error)
    return refused(name, path, reason, hint) if reason else None


def _module_refusal(name: str, path: Path) -> PluginRefused | None:
    try:
        with ProgramFile.open(path) as module:
            reason, hint = module.reason_against(None)
            if not reason and not module.header().startswith(WASM_MAGIC):
                reason, hint = "is no WASM module", "build it with GOOS=wasip1 GOARCH=wasm, or install the right file"
    except OSError as error:
        return unreadable(name, path, error)
    return refused(name, path, reason, hint) if reason else None


def _foreign_files(search: SearchPath, prefix: str) -> list[Path]:
    name = prefix.lower()
    plugin_file = re.compile(rf"{name}-[a-z0-9]+-[a-z0-9]+(\.exe)?")
    found: list[Path] = []
    for place in search.places:
        try:
            found += sorted(path for path in (place.directory / name).iterdir() if plugin_file.fullmatch(path.name))
        except OSError:
            continue
    return found


def _refused_as_foreign(prefix: str, files: list[Path], platform: Platform) -> PluginRefused:
    name = prefix.lower()
    others = ", ".join(sorted({path.name.removeprefix(f"{name}-").removesuffix(".exe") for path in files}))
    return PluginRefused(
        f"plugin {name} ({files[0].parent}) is refused: there are only files for other platforms ({others}), "
        f"and this is {platform}",
        hint=f"install {name}-{platform.file_suffix} there",
    )


def _not_found(search: SearchPath, prefix: str) -> PluginNotFound:
    name = prefix.lower()
    file = f"{name}/{name}-{search.platform.file_suffix}"
    places = ", ".join(str(place) for place in search.places) or "no directory"
    return PluginNotFound(
        f"plugin {name} is not installed: no file {file} on the plugin path, and no installed package brings it",
        hint=f"looked for {file} and {name}/{name}.wasm in: {places}; then in the installed packages",
    )
