"""
The store of connections: names, prefixes and settings in clear, secrets sealed.

Each version of a connection has a data key of its own, under which each secret is sealed for (connection, field,
version). The data key is wrapped by the master key for all that is in clear and for the names of the secrets. So
nothing opens in another row, under another name, with a setting changed (an endpoint, say) or a secret left out. What
cannot be seen is that a whole connection, or the whole file, is an older version of itself.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path  # noqa: TC003 - msgspec reads the fields' types
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from injector.connections import sealing
from injector.connections.connection import (
    Connection,
    ConnectionSummary,
    check_fields,
    check_name,
    check_prefix,
    unknown,
)
from injector.connections.database import Database
from injector.connections.master_key import MasterKeyFile, identity
from injector.errors import ConnectionExists, ConnectionInvalid, ConnectionStoreInvalid, SealBroken
from injector.model.secret import Secret

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence


class ConnectionStore:
    """
    Connections in the SQLite file *path*, sealed with the master key of *key_file*. Implements ConnectionSource.

    File and key are made by the first `add`. Every method may be called on any thread, by any number of processes at
    the same time. They raise ConnectionStoreInvalid and ConnectionStoreUnwritable as `database.Database` does, and
    those that need the key KeyFileInvalid and SealBroken.
    """

    def __init__(self, path: Path, key_file: Path) -> None:
        self.path = path
        self.key_file = key_file
        self._database = Database(path)
        self._keys = MasterKeyFile(key_file)

    def summaries(self) -> tuple[ConnectionSummary, ...]:
        """See ConnectionSource. Whether somebody changed what is shown, is found out when it is opened."""
        with self._database.reading() as database:
            if database is None:
                return ()
            return tuple(_summary(database, row) for row in _rows(database))

    def summary(self, name: str) -> ConnectionSummary:
        """See ConnectionSource."""
        with self._database.reading() as database:
            if database is None:
                raise unknown(name, ())
            return _summary(database, _row(database, name))

    def load(self, name: str) -> Connection:
        """See ConnectionSource."""
        row, sealed = self._read(name)
        while True:
            try:
                return self._open(row, sealed)
            except SealBroken:
                before = row
                row, sealed = self._read(name)
                if row == before:
                    raise
                # A rotation came in between, and its key has gone since.

    def _read(self, name: str) -> tuple[Row, dict[str, bytes]]:
        with self._database.reading() as database:
            if database is None:
                raise unknown(name, ())
            row = _row(database, name)
            return row, _sealed(database, row)

    def add(
        self, name: str, prefix: str, settings: Mapping[str, Any], secrets: Mapping[str, Secret]
    ) -> ConnectionSummary:
        """
        Adds a connection; gives what was added.

        Raises ConnectionInvalid for what cannot be one, ConnectionExists when the name is taken.
        """
        connection = Connection(
            os.urandom(16).hex(), check_name(name), check_prefix(prefix), 1, dict(settings), dict(secrets)
        )
        check_fields(settings, secrets)
        with self._database.writing() as database:
            _refuse_taken(database, name)
            with self._key_for_new(database) as key:
                _insert(database, connection, key)
        return connection.summary()

    def edit(
        self,
        name: str,
        *,
        settings: Mapping[str, Any],
        secrets: Mapping[str, Secret],
        remove: Sequence[str] = (),
        new_name: str | None = None,
    ) -> ConnectionSummary:
        """
        Adds and replaces fields, *remove* takes some away; gives what came of it. A field that becomes a secret is no
        setting any more, and the other way round.

        Raises ConnectionUnknown, ConnectionInvalid, and ConnectionExists when *new_name* is taken.
        """
        with self._database.writing() as database:
            row = _row(database, name)
            old = self._open(row, _sealed(database, row))
            if missing := sorted(set(remove) - {*old.settings, *old.secrets}):
                raise ConnectionInvalid(
                    f"`{name}` has no field {missing[0]}", hint="look at it: injector connection show"
                )
            if new_name is not None and new_name != name:
                _refuse_taken(database, check_name(new_name))
            gone = set(remove)
            new = Connection(
                old.id,
                new_name or name,
                old.prefix,
                old.version + 1,
                _without(old.settings, gone | set(secrets)) | dict(settings),
                _without(old.secrets, gone | set(settings)) | dict(secrets),
            )
            check_fields(new.settings, new.secrets)
            _delete(database, old.id)
            with self._key_for_new(database, row.key_id) as key:
                _insert(database, new, key)
        return new.summary()

    def remove(self, name: str) -> ConnectionSummary:
        """Removes a connection, also one that does not open any more. Raises ConnectionUnknown."""
        with self._database.writing() as database:
            row = _row(database, name)
            try:
                summary = _summary(database, row)
            except SealBroken:
                summary = ConnectionSummary(row.id, row.name, row.prefix, row.version)
            _delete(database, row.id)
        return summary

    def rotate_key(self, *, new_key_file: Path | None = None, forget: bool = False) -> Rotation:
        """
        Wraps all data keys with another master key.

        A new key takes the file's place, and the former one stays beside it unless it is to be forgotten; with
        *new_key_file* the key of that file is used, and both files stay as they are. Whenever it is killed, every
        connection opens with the keys that are there, and the next rotation makes it whole.
        """
        with self._database.writing() as database:
            rows = list(_rows(database))
            if not rows:
                return Rotation(0, None, None)
            former = rows[0].key_id
            if new_key_file is None:
                self._keys.adopt(former)  # of a rotation that was killed before its last step
                key = self._keys.make_next(former)
            else:
                key = sealing.read_key(new_key_file)
            with sealing.wiped(key):
                current = identity(key)
                for row in rows:
                    self._rewrap(database, row, key)
        if new_key_file is None:
            self._keys.adopt(current)
            if forget:
                self._keys.forget_former(former)
        kept = self._keys.former(former) if new_key_file is None and not forget else None
        return Rotation(len(rows), current, kept)

    def _rewrap(self, database: sqlite3.Connection, row: Row, key: bytearray) -> None:
        purpose = _data_key_purpose(row, _sealed(database, row))
        with self._data_key(row, purpose) as data_key:
            database.execute(
                "UPDATE connections SET key_id = ?, data_key = ? WHERE id = ?",
                (identity(key), sealing.seal(key, data_key, purpose), row.id),
            )

    @contextlib.contextmanager
    def _key_for_new(self, database: sqlite3.Connection, key_id: str | None = None) -> Iterator[bytearray]:
        """The key that the others are wrapped with: one master key for all of a store."""
        if other := next(_rows(database), None):
            key_id = other.key_id
        with sealing.wiped(self._keys.find(key_id) if key_id else self._keys.find_or_make()) as key:
            yield key

    @contextlib.contextmanager
    def _data_key(self, row: Row, purpose: bytes) -> Iterator[bytearray]:
        with sealing.wiped(self._keys.find(row.key_id)) as key:
            try:
                data_key = bytearray(sealing.unseal(key, row.data_key, purpose))
            except SealBroken:
                raise _changed(row) from None
        with sealing.wiped(data_key):
            yield data_key

    def _open(self, row: Row, sealed: Mapping[str, bytes]) -> Connection:
        with self._data_key(row, _data_key_purpose(row, sealed)) as data_key:
            try:
                secrets = {
                    field: Secret(sealing.unseal(data_key, data, _secret_purpose(row.id, field, row.version)))
                    for field, data in sealed.items()
                }
            except SealBroken:
                raise _changed(row) from None
        return Connection(row.id, row.name, row.prefix, row.version, _settings(row), secrets)


class Row(NamedTuple):
    """A connection as it is stored; `settings` is JSON text."""

    id: str
    name: str
    prefix: str
    version: int
    settings: str
    key_id: str
    data_key: bytes


class Rotation(Struct, frozen=True):
    """
    What a rotation did: how many connections it wrapped anew, the identity of the key, and where the former one is
    kept (None: nowhere). Without any connection, there is nothing that a key is needed for, and None of a key.
    """

    connections: int
    key_id: str | None
    former: Path | None


def _rows(database: sqlite3.Connection) -> Iterator[Row]:
    for values in database.execute(f"SELECT {', '.join(Row._fields)} FROM connections ORDER BY name"):  # noqa: S608
        yield _checked(values)


def _row(database: sqlite3.Connection, name: str) -> Row:
    query = f"SELECT {', '.join(Row._fields)} FROM connections WHERE name = ?"  # noqa: S608  # names of columns
    found = database.execute(query, (name,)).fetchone()
    if found is None:
        raise unknown(name, [row.name for row in _rows(database)])
    return _checked(found)


def _checked(values: Sequence[Any]) -> Row:
    # SQLite keeps whatever it is given, and a damaged page may hold anything.
    if [type(value) for value in values] != [str, str, str, int, str, str, bytes]:
        raise ConnectionStoreInvalid("a connection in the store is damaged", hint="put a backup of it in its place")
    return Row(*values)


def _sealed(database: sqlite3.Connection, row: Row) -> dict[str, bytes]:
    query = "SELECT field, sealed FROM secrets WHERE connection = ? ORDER BY field"
    sealed = dict(database.execute(query, (row.id,)))
    if not all(isinstance(field, str) and isinstance(data, bytes) for field, data in sealed.items()):
        raise _changed(row)
    return sealed


def _summary(database: sqlite3.Connection, row: Row) -> ConnectionSummary:
    return ConnectionSummary(
        row.id, row.name, row.prefix, row.version, _settings(row), tuple(sorted(_sealed(database, row)))
    )


def _insert(database: sqlite3.Connection, connection: Connection, key: bytearray) -> None:
    settings = json.dumps(connection.settings, sort_keys=True, allow_nan=False)
    row = Row(connection.id, connection.name, connection.prefix, connection.version, settings, identity(key), b"")
    with sealing.wiped(sealing.new_key()) as data_key:
        wrapped = sealing.seal(key, data_key, _data_key_purpose(row, connection.secrets))
        secrets = [
            (row.id, field, sealing.seal(data_key, secret.reveal(), _secret_purpose(row.id, field, row.version)))
            for field, secret in connection.secrets.items()
        ]
    places = ", ".join("?" * len(Row._fields))
    database.execute(
        f"INSERT INTO connections ({', '.join(Row._fields)}) VALUES ({places})",  # noqa: S608  # names of columns
        row._replace(data_key=wrapped),
    )
    database.executemany("INSERT INTO secrets (connection, field, sealed) VALUES (?, ?, ?)", secrets)


def _delete(database: sqlite3.Connection, connection_id: str) -> None:
    database.execute("DELETE FROM connections WHERE id = ?", (connection_id,))


def _refuse_taken(database: sqlite3.Connection, name: str) -> None:
    if database.execute("SELECT 1 FROM connections WHERE name = ?", (name,)).fetchone():
        raise ConnectionExists(
            f"there is a connection `{name}`", hint="take another name, or change it: injector connection edit"
        )


def _settings(row: Row) -> dict[str, Any]:
    try:
        settings = json.loads(row.settings)
    except ValueError:
        raise _changed(row) from None  # the error's object holds the text
    if not isinstance(settings, dict):
        raise _changed(row)
    return settings


def _changed(row: Row) -> SealBroken:
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in row.name[:63])
    return SealBroken(
        f"the connection `{shown}` does not open: it was damaged, or changed without the key",
        hint="add it again, or put a backup of the store in its place",
    )


def _data_key_purpose(row: Row, secrets: Iterable[str]) -> bytes:
    clear = [row.id, row.version, row.name, row.prefix, row.settings, sorted(secrets)]
    return json.dumps(["injector data key 1", *clear]).encode()


def _secret_purpose(connection_id: str, field: str, version: int) -> bytes:
    return json.dumps(["injector secret 1", connection_id, field, version]).encode()


def _without(fields: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {field: value for field, value in fields.items() if field not in names}
