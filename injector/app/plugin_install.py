"""One plugin file from a path or an HTTPS URL into a plugin folder: checked first, visible after, at once or not."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

from injector.app.plugin_lock import changes, file_name, lock_request, platform_of
from injector.backends.executables import HEADER_BYTES, Platform, recognise
from injector.backends.lockfile import WASM, Lock, LockEntry, is_name, is_platform, is_sha256
from injector.backends.program_file import folder_problem, mismatch
from injector.errors import InputError, InputNotFound, PluginInstallFailed, UsageError
from injector.output.publisher import PublishRequest, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from injector.app.plugin_lock import Change

_NAMED: Final = re.compile(r"([a-z][a-z0-9_]*)-([a-z0-9]+-[a-z0-9]+)(\.exe)?|([a-z][a-z0-9_]*)\.wasm")
_WASM_MAGIC: Final = b"\0asm"
_TAR_MAGIC: Final = (257, b"ustar")
_ARCHIVES: Final = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"!<arch>\n": "ar",
}


class InstallRequest(Struct, frozen=True):
    """
    What is to be installed, and where.

    `source` is a path or a URL; `name` and `platform` are told from its last part when None; `sha256` is the
    expected checksum, or None for that of the lock file. `directory` is the plugin path. `limit` is in bytes.
    """

    source: str
    directory: Path
    here: Platform
    name: str | None = None
    platform: str | None = None
    sha256: str | None = None
    limit: int = 512 * 1024 * 1024

    @property
    def is_url(self) -> bool:
        return "://" in self.source

    @property
    def origin(self) -> str | None:
        """The URL without query and fragment, which may hold a signature that lets its holder in; None for a path."""
        return urlunsplit((*urlsplit(self.source)[:3], "", "")) if self.is_url else None

    @property
    def shown(self) -> str:
        """The source for messages."""
        return self.origin or self.source


class Installed(Struct, frozen=True):
    """What was installed: `changed` is false when the file was there already; `lock` is what the lock file gained."""

    name: str
    platform: str
    path: Path
    sha256: str
    size: int
    changed: bool
    lock: tuple[Change, ...] = ()


def install(
    request: InstallRequest,
    *,
    environment: Mapping[str, str],
    lock: Lock | None,
    lock_file: Path | None,
    progress: Callable[[int, int], None] | None = None,
) -> Installed:
    """
    Installs one plugin file, and brings the lock file up to date when there is one.

    Args:
        request: see InstallRequest.
        environment: says where caches are (XDG_CACHE_HOME, HOME).
        lock: the lock so far, None when there is no lock file.
        lock_file: its path.
        progress: called with (bytes so far, all bytes) during a download.

    The checksum is compared before anything becomes visible. Nothing is left when it does not fit.

    Raises:
        UsageError: no checksum is known, or name or platform cannot be told.
        PluginIntegrity: the checksum differs.
        PluginInstallFailed, PluginSourceUnavailable, InputError, OutputError: it cannot be fetched or placed.
    """
    if request.is_url:
        from injector.app.download import checked_url  # late: nothing else speaks to a network

        checked_url(request.source)
    name, platform = identify(request)
    expected = _expected(request, lock, name, platform)
    _check_folder(request.directory / name)
    if not request.is_url:
        data = _read(Path(request.source), request.limit)
        return _place(request, data, name, platform, expected, lock, lock_file)
    from injector.app.download import Download  # late: see above

    download = Download(request.source, _cache(environment), limit=request.limit, progress=progress)
    with download.fetched() as data:
        return _place(request, data, name, platform, expected, lock, lock_file)


def identify(request: InstallRequest) -> tuple[str, str]:
    """Name and platform of what is to be installed. Raises UsageError when they cannot be told or are none."""
    last = urlsplit(request.source).path if request.is_url else request.source
    match = _NAMED.fullmatch(last.rpartition("/")[2])
    told = (match[1] or match[4], match[2] or WASM) if match else (None, None)
    name = request.name.lower() if request.name else told[0]
    if name is None:
        raise UsageError(
            "the source's name does not tell which plugin it is",
            hint="--name PREFIX, such as --name awsparamstr, and --platform OS-ARCH if it is not for this one",
        )
    if not is_name(name):
        raise UsageError(f"--name {name!r} is no plugin's name", hint="the prefix of its tokens, such as awsparamstr")
    platform = request.platform or told[1] or f"{request.here.system}-{request.here.processor}"
    if not is_platform(platform) or platform_of(file_name(name, platform), name) != platform:
        raise UsageError(f"--platform {platform!r} is no platform", hint="linux-amd64, darwin-arm64, wasm, …")
    return name, platform


def _expected(request: InstallRequest, lock: Lock | None, name: str, platform: str) -> str:
    if request.sha256 is not None:
        given = request.sha256.lower().removeprefix("sha256:")
        if not is_sha256(given):
            raise UsageError("--sha256 takes 64 hexadecimal digits", hint="as `sha256sum FILE` prints them")
        return given
    entry = lock.get(name, platform) if lock else None
    if entry is None:
        raise UsageError(
            f"no checksum is known for plugin {name} on {platform}",
            hint="give the one that its publisher tells with --sha256; without it nobody can say what is installed",
        )
    return entry.sha256


def _check_folder(folder: Path) -> None:
    try:
        reason, hint = folder_problem(folder)
    except OSError:
        return  # not there yet, or `publish` will say what is wrong with it
    if reason:
        raise PluginInstallFailed(f"nothing is installed: the plugin {reason}", hint=hint)


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise InputNotFound(f"{path} does not exist", hint="SOURCE is a path or an https:// URL") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name holds a NUL character"
        raise InputError(f"{path} cannot be read: {reason}") from None
    if len(data) > limit:
        raise PluginInstallFailed(f"{path} is larger than {limit} bytes", hint="raise --max-size if that is meant")
    return data


def _place(
    request: InstallRequest,
    data: bytes,
    name: str,
    platform: str,
    expected: str,
    lock: Lock | None,
    lock_file: Path | None,
) -> Installed:
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        remedy = "nothing was installed; compare the checksum with its publisher's, and do not use this file"
        raise mismatch(name, request.shown, expected=expected, found=found, remedy=remedy)
    _check_format(data[:HEADER_BYTES], request.shown, platform)
    target = Path(name, file_name(name, platform))
    files = [PublishRequest(target, data, mode=0o644 if platform == WASM else 0o755, root=request.directory)]
    gained: tuple[Change, ...] = ()
    if lock is not None and lock_file is not None:
        after = _with_entry(lock, name, platform, LockEntry(found, len(data), request.origin))
        gained = changes(lock, after)
        if gained:
            files.append(lock_request(lock_file, after))
    placed = publish(files)[0]
    return Installed(name, platform, request.directory / target, found, len(data), placed.changed, gained)


def _with_entry(lock: Lock, name: str, platform: str, entry: LockEntry) -> Lock:
    old = lock.get(name, platform)
    if old is not None and old.sha256 == entry.sha256 and entry.source is None:
        return lock  # installed from a copy: where it once came from stays true
    return Lock(lock.entries | {(name, platform): entry})


def _check_format(header: bytes, source: str, platform: str) -> None:
    archive = next((kind for magic, kind in _ARCHIVES.items() if header.startswith(magic)), None)
    if header[_TAR_MAGIC[0] :].startswith(_TAR_MAGIC[1]):
        archive = "tar"
    if archive:
        raise PluginInstallFailed(
            f"{source} is an archive ({archive}), and archives are not unpacked",
            hint="unpack it, and install the program file that is in it",
        )
    if (platform == WASM) != header.startswith(_WASM_MAGIC):
        what = "is no WASM module" if platform == WASM else "is a WASM module"
        raise PluginInstallFailed(f"{source} {what}", hint="--platform wasm is for modules, and for nothing else")
    system, _, processor = platform.partition("-")
    program = recognise(header)
    if program is not None and not program.runs_on(Platform(system, processor)):
        raise PluginInstallFailed(
            f"{source} is a {program}, and it was to be installed for {platform}",
            hint="install that platform's build, or correct --platform",
        )


def _cache(environment: Mapping[str, str]) -> Path:
    """Where partial downloads are: ours alone, and not on the plugin path."""
    base = Path(environment.get("XDG_CACHE_HOME", ""))
    home = Path(environment.get("HOME", ""))
    if not base.is_absolute():  # the XDG base directory specification: relative ones are ignored
        if not home.is_absolute():
            raise UsageError("there is no place for a partial download", hint="set HOME or XDG_CACHE_HOME")
        base = home / ".cache"
    return base / "injector" / "downloads"
