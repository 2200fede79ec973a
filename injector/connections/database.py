"""
The SQLite file below the store of connections: who may read it, its schema, its transactions.

One transaction is one change: what is killed in it has changed nothing. WAL, so that readers never wait for writers;
synchronous=FULL, so that what was told to be done is on the disk.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from typing import TYPE_CHECKING

from injector.errors import ConnectionStoreInvalid, ConnectionStoreUnwritable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPLICATION = 0x496E6A43
"""In the file's header: whose file it is."""

MIGRATIONS = (
    (
        """
        CREATE TABLE connections (
            id TEXT NOT NULL PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            prefix TEXT NOT NULL,
            version INTEGER NOT NULL,
            settings TEXT NOT NULL,
            key_id TEXT NOT NULL,
            data_key BLOB NOT NULL
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE secrets (
            connection TEXT NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
            field TEXT NOT NULL,
            sealed BLOB NOT NULL,
            PRIMARY KEY (connection, field)
        ) WITHOUT ROWID
        """,
    ),
)
"""The statements that lead from each version of the schema to the next; version 0 is an empty file."""

_WAIT = 30.0  # seconds for other writers
_PAUSE = 0.02
_OTHERS_READ = 0o077
_OTHERS_WRITE = 0o022
_UNWRITABLE = {
    sqlite3.SQLITE_BUSY: "other processes hold it for too long",
    sqlite3.SQLITE_LOCKED: "other processes hold it for too long",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk fails",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_PERM: "it may not be opened",
}


class Database:
    """
    The database in the file *path*, opened anew for each use. All methods may be called on any thread.

    They raise ConnectionStoreInvalid for a file that others may read or change, is damaged, or is not ours, and
    ConnectionStoreUnwritable when the file system refuses or other processes do not let go of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A state of the database that does not change in between; None when there is none yet."""
        if not self._is_there():
            yield None
            return
        with self._opened() as database:
            version = self._version(database)
            if 0 < version < len(MIGRATIONS) and not self._is_read_only():
                _begin(database)
                self._migrate(database)
                database.execute("COMMIT")
            database.execute("BEGIN")
            yield database if version else None

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, committed at the end and undone by an exception. Makes file and directory when missing."""
        if not self._is_there():
            self._create()
        with self._opened() as database:
            if self._version(database) == 0:
                _use_wal(database)
            _begin(database)
            try:
                self._migrate(database)
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise

    def _is_there(self) -> bool:
        """Whether there is a file; raises when others may get at it."""
        try:
            directory, file = self.path.parent.stat(), self.path.stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._unwritable((error.strerror or "").lower()) from None
        if not stat.S_ISREG(file.st_mode):
            raise ConnectionStoreInvalid(f"{self.path} is no file", hint="correct connections.store")
        for status, mask, path, mode in (
            (file, _OTHERS_READ, self.path, "600"),
            (directory, _OTHERS_WRITE, self.path.parent, "700"),
        ):
            if status.st_uid not in (0, os.geteuid()):
                raise ConnectionStoreInvalid(f"{path} belongs to another user", hint="each user has a store of its own")
            if stat.S_IMODE(status.st_mode) & mask:
                may = "read" if mask == _OTHERS_READ else "change"
                raise ConnectionStoreInvalid(f"others may {may} {path}", hint=f"chmod {mode} {path}")
        return True

    def _create(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            os.close(descriptor)
        except OSError as error:
            raise self._unwritable((error.strerror or "").lower()) from None
        self._is_there()

    def _is_read_only(self) -> bool:
        return not (os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        # SQLite gives -wal and -shm the mode of the file. On a read-only mount it cannot make them.
        how = "rw"
        if self._is_read_only():
            how = "ro" if self.path.with_name(f"{self.path.name}-wal").exists() else "ro&immutable=1"
        try:
            database = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={how}", uri=True, timeout=_WAIT, isolation_level=None
            )
            with contextlib.closing(database):
                for pragma in (
                    "synchronous = FULL",
                    "foreign_keys = ON",
                    "secure_delete = ON",
                    "temp_store = MEMORY",
                    "cell_size_check = ON",
                    "trusted_schema = OFF",
                ):
                    database.execute(f"PRAGMA {pragma}")
                yield database
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the second for an error's text, if a schema is damaged
            raise self._explained(error) from None  # its text may quote what is in the file

    def _version(self, database: sqlite3.Connection) -> int:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != APPLICATION and (version or tables):
            raise ConnectionStoreInvalid(f"{self.path} belongs to another program", hint="correct connections.store")
        if version > len(MIGRATIONS):
            raise ConnectionStoreInvalid(
                f"{self.path} was written by a newer injector", hint="use that version, or a store of its own"
            )
        return int(version)

    def _migrate(self, database: sqlite3.Connection) -> None:
        version = self._version(database)
        for number, statements in enumerate(MIGRATIONS[version:], version + 1):
            for statement in statements:
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {APPLICATION}")
            database.execute(f"PRAGMA user_version = {number}")

    def _explained(self, error: Exception) -> ConnectionStoreInvalid | ConnectionStoreUnwritable:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in _UNWRITABLE:
            return self._unwritable(_UNWRITABLE[code])
        return ConnectionStoreInvalid(
            f"the store of connections {self.path} is damaged", hint="put a backup of it in its place"
        )

    def _unwritable(self, reason: str) -> ConnectionStoreUnwritable:
        return ConnectionStoreUnwritable(
            f"the store of connections {self.path} cannot be used: {reason}", hint="look at the disk and at who owns it"
        )


def _begin(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")


def _use_wal(database: sqlite3.Connection) -> None:
    # Here SQLite does not wait by itself for others that do the same.
    deadline = time.monotonic() + _WAIT
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return
