"""The lock file against the plugin folders: what is there, what the lock file says, and the next lock file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.backends.discovery import prefixes
from injector.backends.lockfile import WASM, Lock, LockEntry, format_lock
from injector.backends.program_file import ProgramFile, refused, unreadable
from injector.backends.verification import LockState, compare
from injector.errors import InjectorError, RunFailed
from injector.output.publisher import PublishRequest, publish

if TYPE_CHECKING:
    from pathlib import Path

    from injector.backends.discovery import SearchPath

_LOCK_MODE = 0o644


class PluginFile(Struct, frozen=True):
    """A plugin file of any platform. `platform` is the lock file's word for it: `linux-amd64`, `wasm`."""

    name: str
    platform: str
    path: Path


class Change(Struct, frozen=True):
    """What is different in a new lock: `what` is added, changed or removed."""

    what: str
    name: str
    platform: str
    before: LockEntry | None = None
    after: LockEntry | None = None


class Finding(Struct, frozen=True):
    """What the lock file says about a file, with the checksums that were compared. `path` is None: no such file."""

    name: str
    platform: str
    path: Path | None
    state: LockState
    expected: str | None = None
    found: str | None = None


def plugin_files(search: SearchPath) -> tuple[PluginFile, ...]:
    """
    The plugin files of all platforms, sorted; of several for one plugin and platform the first of the search.

    Files that belong to no platform (`demo-linux-amd64.sha256`) are none. Raises PluginRefused for a folder that
    cannot be listed.
    """
    found: dict[tuple[str, str], PluginFile] = {}
    for prefix in sorted(prefixes(search)):
        name = prefix.lower()
        for place in search.places:
            folder = place.directory / name
            for path in _listed(name, folder):
                platform = platform_of(path.name, name)
                if platform is not None:
                    found.setdefault((name, platform), PluginFile(name, platform, path))
    return tuple(found[key] for key in sorted(found))


def _listed(name: str, folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(name, folder, error) from None


def platform_of(file: str, name: str) -> str | None:
    """The platform that the file name *file* of the plugin *name* stands for; None when it is no plugin file."""
    if file == f"{name}.wasm":
        return WASM
    match = re.fullmatch(rf"{re.escape(name)}-([a-z0-9]+-[a-z0-9]+)(\.exe)?", file)
    if match is None or (match[1].startswith("windows-") != (match[2] is not None)):
        return None
    return match[1]


def file_name(name: str, platform: str) -> str:
    """The file name for a plugin and a platform, the reverse of `platform_of`."""
    if platform == WASM:
        return f"{name}.wasm"
    return f"{name}-{platform}" + (".exe" if platform.startswith("windows-") else "")


def lock_files(search: SearchPath, before: Lock, *, keep: bool) -> Lock:
    """
    The lock for the files that are there now.

    Args:
        search: where the files are.
        before: the lock so far; an entry whose file is unchanged keeps its source.
        keep: keep the entries whose file is not here, e.g. those of other platforms.

    Raises:
        PluginRefused: others may write a file or its folder, or it cannot be read. RunFailed: several such.
    """
    entries = dict(before.entries) if keep else {}
    problems: list[InjectorError] = []
    for file in plugin_files(search):
        try:
            entry = _entry(file)
        except InjectorError as error:
            problems.append(error)
            continue
        old = before.get(file.name, file.platform)
        same = old is not None and (old.sha256, old.size) == (entry.sha256, entry.size)
        entries[file.name, file.platform] = old if old is not None and same else entry
    if problems:
        raise problems[0] if len(problems) == 1 else RunFailed(problems)
    return Lock(entries)


def _entry(file: PluginFile) -> LockEntry:
    try:
        with ProgramFile.open(file.path) as program:
            reason, hint = program.reason_against(None)
            if not reason:
                return LockEntry(program.sha256(), program.size())
    except OSError as error:
        raise unreadable(file.name, file.path, error) from None
    raise refused(file.name, file.path, reason, hint)


def changes(before: Lock, after: Lock) -> tuple[Change, ...]:
    """What is different, by name and platform."""
    found = []
    for key in sorted(before.entries.keys() | after.entries.keys()):
        old, new = before.entries.get(key), after.entries.get(key)
        if old != new:
            what = "added" if old is None else "removed" if new is None else "changed"
            found.append(Change(what, *key, old, new))
    return tuple(found)


def lock_request(path: Path, lock: Lock) -> PublishRequest:
    """What `publish` writes for *lock*."""
    return PublishRequest(path, format_lock(lock), mode=_LOCK_MODE)


def write_lock(path: Path, lock: Lock) -> None:
    """Writes the lock file at once or not at all. Raises OutputError."""
    publish([lock_request(path, lock)])


def verify_files(search: SearchPath, lock: Lock) -> tuple[Finding, ...]:
    """Every plugin file against the lock, and what the lock names for this platform and is not there."""
    findings: dict[tuple[str, str], Finding] = {}
    for file in plugin_files(search):
        entry = lock.get(file.name, file.platform)
        state, found = compare(file.path, entry)
        expected = entry.sha256 if entry else None
        findings[file.name, file.platform] = Finding(file.name, file.platform, file.path, state, expected, found)
    ours = {f"{search.platform.system}-{search.platform.processor}", WASM}
    for (name, platform), entry in lock.entries.items():
        if platform in ours and (name, platform) not in findings:
            missing = Finding(name, platform, None, LockState.NOT_INSTALLED, entry.sha256)
            findings[name, platform] = missing
    return tuple(findings[key] for key in sorted(findings))
