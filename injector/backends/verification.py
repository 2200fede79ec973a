"""Which plugins a lock file admits. Nothing is hashed here: a candidate gets its pin, and the start is held to it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from injector.backends.discovery import Kind
from injector.backends.lockfile import WASM, read_lock
from injector.backends.program_file import ProgramFile, is_there
from injector.errors import InjectorError, PluginLockInvalid, PluginLockNotFound, PluginNotLocked, RunFailed
from injector.model.policy import Verify
from injector.settings.schema import LOCK_FILE_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from injector.backends.discovery import Candidate
    from injector.backends.executables import Platform
    from injector.backends.lockfile import Lock, LockEntry


class LockState(StrEnum):
    """What a lock file says about one plugin file."""

    LOCKED = "locked"
    NOT_LOCKED = "not in lock file"
    DIFFERENT = "checksum differs"
    UNREADABLE = "cannot be read"
    NOT_INSTALLED = "not installed"


class Verification(Struct, frozen=True):
    """
    The policy of a run.

    `lock_file` is the lock file that holds, None when there is none; `places` are the paths where one was looked for.
    """

    verify: Verify = Verify.OFF
    lock_file: Path | None = None
    places: tuple[Path, ...] = ()

    @classmethod
    def from_settings(cls, verify: Verify, lock_file: Path | None, cwd: Path) -> Verification:
        """The policy for a run in *cwd*; *lock_file* is the one that the settings name, or that lies beside them."""
        default = cwd / LOCK_FILE_NAME
        if lock_file is not None:
            return cls(verify, cwd / lock_file, (cwd / lock_file,))
        return cls(verify, default if is_there(default) else None, (default,))

    @property
    def is_demanded(self) -> bool:
        """Whether a plugin's file has to be in a lock file to be run."""
        return self.verify is Verify.REQUIRED or (self.verify is Verify.LOCKED and self.lock_file is not None)

    def admit(self, candidate: Candidate, platform: Platform) -> Candidate:
        """
        The candidate with the pin that its start is held to; as it is when nothing has to be verified.

        The plugins of installed packages are not verified: their installer has checked them.

        Raises:
            PluginNotLocked: the lock file does not name it.
            PluginLockNotFound: there is no lock file, and one is required or was named.
            PluginLockInvalid: the lock file is of no use.
        """
        if not self.is_demanded or candidate.kind is Kind.DISTRIBUTION:
            return candidate
        pin = self._read().get(candidate.name, lock_platform(candidate.kind, platform))
        if pin is None:
            raise PluginNotLocked(
                f"{candidate} is refused: {self.lock_file} does not name it for {platform}",
                hint="if it is meant to be used, `injector plugin lock` takes it in",
            )
        return replace(candidate, pin=pin)

    def read(self) -> Lock:
        """The lock. Raises PluginLockNotFound when there is none, and what `read_lock` raises."""
        if self.lock_file is None:
            raise PluginLockNotFound(
                f"there is no lock file {LOCK_FILE_NAME}",
                hint=f"looked for {', '.join(map(str, self.places))}; `injector plugin lock` writes it, "
                "--plugin-lock-file names another",
            )
        return read_lock(self.lock_file)

    def _read(self) -> Lock:
        # The error is reported at tokens: a place in the lock file goes into the message, or it would be lost.
        try:
            return self.read()
        except RunFailed as error:
            raise _unusable(error.errors[0]) from None
        except PluginLockInvalid as error:
            raise _unusable(error) from None


def _unusable(error: InjectorError) -> PluginLockInvalid:
    where = f"{error.place}: " if error.place else ""
    return PluginLockInvalid(f"no plugin can be verified: {where}{error.message}", hint=error.hint)


def lock_platform(kind: Kind, platform: Platform) -> str:
    """The key of a plugin in a lock file: `linux-amd64`, or `wasm`."""
    return WASM if kind is Kind.WASM else f"{platform.system}-{platform.processor}"


def compare(path: Path, entry: LockEntry | None) -> tuple[LockState, str | None]:
    """What *entry* says about the file at *path*, and the file's SHA-256 when it was read. Never raises OSError."""
    if entry is None:
        return LockState.NOT_LOCKED, None
    try:
        with ProgramFile.open(path) as program:
            found = program.sha256()
    except OSError:
        return LockState.UNREADABLE, None
    return (LockState.LOCKED if found == entry.sha256 else LockState.DIFFERENT), found
