"""
The file of the master key, which wraps the data keys, and its change for another.

A key is known by its identity, a part of its hash, and the store says which one it needs. During a rotation there are
further keys beside the file, named after their identities, so that whoever is killed between two steps leaves every
key that something is sealed with, and no rename can put a key into a place that was meant for another:

    master.key            the key for what is new
    master.key.ID.new     the next one: of a rotation under way, or of one that was killed
    master.key.ID         a former one, for old backups and for other stores that share the file

Files get here by link(2): unlike the rename of injector/output, it never replaces a key by another.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from typing import TYPE_CHECKING

from injector.connections import sealing
from injector.errors import ConnectionStoreUnwritable, KeyFileInvalid, SealBroken

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ATTEMPTS = 10


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
            for path in (self.path, self._next(key_id), self._former(key_id)):
                if not path.exists():
                    continue
                key = sealing.read_key(path)
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
        with self._written():
            for _ in range(_ATTEMPTS):
                if self.path.exists():
                    self._sweep()
                    return sealing.read_key(self.path)
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with sealing.wiped(sealing.new_key()) as key:
                    self._create(self.path, key)
        raise KeyFileInvalid(f"the key file {self.path} comes and goes", hint="another program removes it")

    def make_next(self, current: str) -> bytearray:
        """A key beside the file for a rotation away from *current*: one that a killed rotation left, or a new one."""
        with self._written():
            for path in sorted(self.path.parent.glob(f"{self.path.name}.*.new")):
                key = sealing.read_key(path)
                if path == self._next(identity(key)) and identity(key) != current:
                    self._sweep()
                    return key
                sealing.wipe(key)
            key = sealing.new_key()
            self._create(self._next(identity(key)), key)
            return key

    def keep_former(self) -> None:
        """Gives the file's key a second name, under which it stays when another takes its place."""
        with self._written(), sealing.wiped(sealing.read_key(self.path)) as key:
            with contextlib.suppress(FileExistsError):
                os.link(self.path, self._former(identity(key)))
            self._sync()

    def adopt(self, key_id: str) -> None:
        """Makes the next key of this identity the file's. Nothing happens when it is, or was given up again."""
        with self._written():
            try:
                self._next(key_id).rename(self.path)
            except FileNotFoundError:
                return
            self._sync()

    def forget_former(self, key_id: str) -> None:
        """Removes a former key: what is sealed with it, as in an old backup, does not open any more."""
        with self._written():
            self._former(key_id).unlink(missing_ok=True)
            self._sync()

    def former(self, key_id: str) -> Path:
        """Where a former key is kept."""
        return self._former(key_id)

    def _next(self, key_id: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{key_id}.new")

    def _former(self, key_id: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{key_id}")

    def _create(self, path: Path, key: bytearray) -> None:
        """*path* with *key*, whole or not at all. A file that is there already stays as it is."""
        for _ in range(_ATTEMPTS):
            begun = self.path.with_name(f".{self.path.name}.{os.urandom(8).hex()}.tmp")
            _write(begun, sealing.key_text(key))
            try:
                os.link(begun, path)
            except FileExistsError:
                pass
            except FileNotFoundError:
                continue  # another process took it for one that was left over
            finally:
                self._sweep()
            self._sync()
            return
        raise KeyFileInvalid(f"{path} cannot be made", hint="another program removes files there")

    def _sweep(self) -> None:
        """Removes files that were begun: this process's, and those of processes that were killed."""
        temporary = re.compile(rf"\.{re.escape(self.path.name)}\.[0-9a-f]{{16}}\.tmp")
        for left in self.path.parent.iterdir():
            if temporary.fullmatch(left.name):
                left.unlink(missing_ok=True)

    def _sync(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise ConnectionStoreUnwritable(
                f"the key file {self.path} cannot be written: {reason}",
                hint="where the key is mounted read-only, rotate with --new-key FILE",
            ) from None


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
