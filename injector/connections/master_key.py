"""
The file of the master key, which wraps the data keys, and its change for another.

A key is known by its identity, a part of its hash, and the store says which one it needs. During a rotation there are
further keys beside the file, named after their identities, so that whoever is killed between two steps leaves every
key that something is sealed with. Stores may share a key file: no key is removed because another takes its place.

    master.key            the key for what is new
    master.key.ID.new     the next one: of a rotation under way, or of one that was killed
    master.key.ID         a former one, for old backups and for other stores that share the file

Files get here by link(2): unlike the rename of injector/output, it never replaces a key by another.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from typing import TYPE_CHECKING

from injector.connections import sealing
from injector.errors import ConnectionStoreUnwritable, KeyFileInvalid, SealBroken

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def identity(key: sealing.Key) -> str:
    """16 hexadecimal digits that tell keys apart, and from which no key can be found."""
    return hashlib.sha256(b"injector master key\0" + key).hexdigest()[:16]


class MasterKeyFile:
    """
    The master key in the file *path*. Keys that are handed out belong to the caller, who wipes them.

    All methods raise KeyFileInvalid for a file that holds no key or that others may read, and those that write raise
    ConnectionStoreUnwritable when the file system refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, key_id: str) -> bytearray:
        """The key of this identity, from the file or from beside it. SealBroken when there are only others."""
        for _ in range(2):  # a rotation may end between two looks
            for path in (self.path, self._next(key_id), self.former(key_id)):
                try:
                    key = sealing.read_key(path)
                except KeyFileInvalid:
                    if path.exists():
                        raise
                    continue
                if identity(key) == key_id:
                    return key
                sealing.wipe(key)
        with sealing.wiped(sealing.read_key(self.path)) as key:
            raise SealBroken(
                f"the connections are sealed with the master key {key_id}, and {self.path} holds {identity(key)}",
                hint="name the file of the right key: connections.masterKeyFile, or INJECTOR_MASTER_KEY_FILE",
            )

    def find_or_make(self) -> bytearray:
        """The key of the file, which is made when there is none. One of several that make it at once wins."""
        with self._changing() as directory:
            if not self.path.exists():
                with sealing.wiped(sealing.new_key()) as key:
                    self._create(self.path, key, directory)
            return sealing.read_key(self.path)

    def make_next(self, current: str) -> bytearray:
        """A key beside the file for a rotation away from *current*: one that a killed rotation left, or a new one."""
        with self._changing() as directory:
            for path in sorted(self.path.parent.glob(f"{self.path.name}.*.new")):
                key = sealing.read_key(path)
                if path == self._next(identity(key)) and identity(key) != current:
                    return key
                sealing.wipe(key)
            key = sealing.new_key()
            self._create(self._next(identity(key)), key, directory)
            return key

    def adopt(self, key_id: str) -> None:
        """
        Makes the next key of this identity the file's; the one that it replaces stays under its own identity.

        Nothing happens when there is no such next key: then it is the file's already, or was.
        """
        with self._changing() as directory:
            if not self._next(key_id).exists():
                return
            with sealing.wiped(sealing.read_key(self.path)) as key, contextlib.suppress(FileExistsError):
                os.link(self.path, self.former(identity(key)))
            os.fsync(directory)
            self._next(key_id).rename(self.path)
            os.fsync(directory)

    def forget_former(self, key_id: str) -> None:
        """Removes a former key: what is sealed with it, as in an old backup, does not open any more."""
        with self._changing() as directory:
            self.former(key_id).unlink(missing_ok=True)
            os.fsync(directory)

    def former(self, key_id: str) -> Path:
        """Where a key is kept whose place another has taken."""
        return self.path.with_name(f"{self.path.name}.{key_id}")

    def _next(self, key_id: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{key_id}.new")

    def _create(self, path: Path, key: bytearray, directory: int) -> None:
        """*path* with *key*, whole or not at all."""
        begun = self.path.with_name(f".{self.path.name}.{os.urandom(8).hex()}.tmp")
        descriptor = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, sealing.key_text(key))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.link(begun, path)
        begun.unlink()
        os.fsync(directory)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[int]:
        """The directory, locked against other processes that change keys in it, and swept of what was begun."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(directory, fcntl.LOCK_EX)
                self._sweep()
                yield directory
            finally:
                os.close(directory)
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise ConnectionStoreUnwritable(
                f"the key file {self.path} cannot be written: {reason}",
                hint="where the key is mounted read-only, rotate with --new-key FILE",
            ) from None

    def _sweep(self) -> None:
        """Removes what processes began that were killed."""
        begun = re.compile(rf"\.{re.escape(self.path.name)}\.[0-9a-f]{{16}}\.tmp")
        for left in self.path.parent.iterdir():
            if begun.fullmatch(left.name):
                left.unlink()
