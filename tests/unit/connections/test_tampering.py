"""Whoever can write to the store's files without having the key changes nothing that anybody then uses."""

from __future__ import annotations

import base64
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from connection_texts import Rows, rewrite, secrets, swap, tamper

from injector.connections.store import ConnectionStore
from injector.errors import ConnectionStoreInvalid, ConnectionUnknown, InjectorError, SealBroken

RIGHT = {name: {"user": f"user-of-{name}", "password": f"pass-of-{name}"} for name in "ab"}


def tells_a_secret(error: InjectorError) -> bool:
    return any(text in error.message + str(error.hint) for text in ("user-of-", "pass-of-"))


def found(store: ConnectionStore, name: str) -> object:
    """What somebody gets who asks for *name*: all of the right connection, or the error that tells of it."""
    try:
        connection = store.load(name)
    except InjectorError as error:
        return error
    assert connection.prefix == "DEMO"
    assert connection.settings == {"region": f"eu-{name}"}
    return {field: secret.reveal().decode() for field, secret in connection.secrets.items()}


def swap_all_that_is_sealed(connections: Rows, sealed: Rows) -> None:
    swap(connections, "data_key")
    swap(sealed, "sealed", 0, 2)
    swap(sealed, "sealed", 1, 3)


def set_all(rows: Rows, column: str, change: Callable[[Any], Any]) -> None:
    for row in rows:
        row[column] = change(row[column])


# Rows of `connections`: a, b. Of `secrets`: password and user of a, password and user of b.
CHANGES: dict[str, Callable[[Rows, Rows], None]] = {
    "a secret of the other connection": lambda _, sealed: (swap(sealed, "sealed", 0, 2), swap(sealed, "sealed", 1, 3)),
    "two secrets of one connection": lambda _, sealed: (swap(sealed, "sealed"), swap(sealed, "sealed", 2, 3)),
    "data keys": lambda connections, _: swap(connections, "data_key"),
    "data keys and secrets": swap_all_that_is_sealed,
    "names": lambda connections, _: swap(connections, "name"),
    "ids": lambda connections, _: swap(connections, "id"),
    "settings": lambda connections, _: swap(connections, "settings"),
    "settings that mean the same": lambda connections, _: set_all(connections, "settings", lambda old: old + " "),
    "settings that are no object": lambda connections, _: set_all(connections, "settings", lambda _: "[]"),
    "an endpoint that is added": lambda connections, _: set_all(
        connections, "settings", lambda old: old.replace("{", '{"endpoint": "https://evil", ')
    ),
    "prefixes": lambda connections, _: set_all(connections, "prefix", lambda _: "EVIL"),
    "versions": lambda connections, _: set_all(connections, "version", lambda old: old + 1),
    "types": lambda connections, _: set_all(connections, "version", lambda _: "one"),
    "a secret that is taken away": lambda _, sealed: (sealed.pop(0), sealed.pop(1)),
    "all secrets that are taken away": lambda _, sealed: sealed.clear(),
    "a secret under another name": lambda _, sealed: set_all(sealed, "field", lambda old: f"{old}2"),
    "a secret that is added": lambda _, sealed: sealed.extend([row | {"field": f"{row['field']}2"} for row in sealed]),
    "a secret of no length": lambda _, sealed: set_all(sealed, "sealed", lambda _: b""),
    "a secret that is a text": lambda _, sealed: set_all(sealed, "sealed", lambda _: "text"),
    "a secret cut off": lambda _, sealed: set_all(sealed, "sealed", lambda old: old[:-1]),
    "a data key cut off": lambda connections, _: set_all(connections, "data_key", lambda old: old[:30]),
    "another key's identity": lambda connections, _: set_all(connections, "key_id", lambda _: "0" * 16),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.seed("000:89")
def test_swapped_and_changed_rows_do_not_open(filled, change) -> None:
    rewrite(filled.path, lambda connections, sealed: None)
    assert [found(filled, name) for name in "ab"] == [RIGHT["a"], RIGHT["b"]]
    rewrite(filled.path, CHANGES[change])
    for name in "ab":
        outcome = found(filled, name)
        assert isinstance(outcome, SealBroken | ConnectionStoreInvalid), outcome
        assert not tells_a_secret(outcome)


@pytest.mark.parametrize("change", CHANGES)
def test_what_does_not_open_can_be_removed(filled, change) -> None:
    rewrite(filled.path, CHANGES[change])
    if change == "types":
        with pytest.raises(ConnectionStoreInvalid):
            filled.remove("a")
        return
    for name in "ab":
        assert filled.remove(name).name == name
    assert filled.summaries() == ()


def test_an_older_version_of_a_secret_does_not_open_in_a_newer_connection(filled) -> None:
    with sqlite3.connect(filled.path) as opened:
        ((old,),) = opened.execute(
            "SELECT sealed FROM secrets WHERE field = 'password'"
            " AND connection = (SELECT id FROM connections WHERE name = 'a')"
        )
    opened.close()
    filled.edit("a", settings={}, secrets=secrets(password="new"))
    with sqlite3.connect(filled.path) as opened:
        opened.execute("UPDATE secrets SET sealed = ? WHERE field = 'password'", (old,))
    opened.close()
    assert isinstance(found(filled, "a"), SealBroken)


def test_a_row_of_another_store_does_not_open(filled, tmp_path) -> None:
    other = ConnectionStore(tmp_path / "other" / "o.db", filled.key_file)
    other.add("o", "DEMO", {"region": "eu-a"}, secrets(user="user-of-o", password="pass-of-o"))
    tamper(
        filled.path,
        f"ATTACH '{other.path}' AS other",
        "UPDATE secrets SET sealed = (SELECT o.sealed FROM other.secrets o WHERE o.field = secrets.field)",
        "UPDATE connections SET data_key = (SELECT data_key FROM other.connections)",
    )
    assert isinstance(found(filled, "a"), SealBroken)


@pytest.mark.timeout(300)
def test_no_flipped_byte_gives_a_wrong_secret(filled) -> None:
    whole = filled.path.read_bytes()
    told = 0
    # Every byte that is not the zeros between SQLite's cells, each with another bit.
    places = [place for place, octet in enumerate(whole) if octet]
    for number, place in enumerate(places):
        filled.path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << number % 8]) + whole[place + 1 :])
        for name in "ab":
            outcome = found(filled, name)
            if isinstance(outcome, InjectorError):
                told += 1
                assert not tells_a_secret(outcome)
            else:
                assert outcome == RIGHT[name], place
        for side in ("-wal", "-shm"):
            Path(f"{filled.path}{side}").unlink(missing_ok=True)
    assert told > 200
    filled.path.write_bytes(whole)
    assert found(filled, "a") == RIGHT["a"]


def test_no_truncated_file_gives_a_wrong_secret(filled) -> None:
    whole = filled.path.read_bytes()
    for length in [*range(0, len(whole), 499), len(whole) - 1]:
        filled.path.write_bytes(whole[:length])
        for name in "ab":
            outcome = found(filled, name)
            assert outcome == RIGHT[name] or isinstance(outcome, InjectorError)
            if length < len(whole) // 2:
                assert isinstance(outcome, ConnectionStoreInvalid | ConnectionUnknown)


def test_a_store_of_noise_is_told_as_damaged(filled) -> None:
    filled.path.write_bytes(random.Random(4711).randbytes(16384))  # noise
    for action in (filled.summaries, lambda: filled.load("a"), lambda: filled.remove("a"), filled.rotate_key):
        with pytest.raises(ConnectionStoreInvalid, match="damaged"):
            action()


def test_a_key_file_with_another_key_opens_nothing_and_says_so(filled) -> None:
    key = bytearray(base64.b64decode(filled.key_file.read_bytes()))
    for place in range(len(key)):
        changed = key.copy()
        changed[place] ^= 1 << place % 8
        filled.key_file.write_bytes(base64.b64encode(changed))
        outcome = found(filled, "a")
        assert isinstance(outcome, SealBroken)
        assert "sealed with the master key" in outcome.message
        assert base64.b64encode(key).decode() not in str(outcome)


def test_a_key_file_cut_off_is_told(filled) -> None:
    whole = filled.key_file.read_bytes().strip()
    for length in range(len(whole)):
        filled.key_file.write_bytes(whole[:length])
        outcome = found(filled, "a")
        assert isinstance(outcome, InjectorError)
        assert outcome.code == "key-file-invalid"


@pytest.mark.seed("000:89")
def test_no_secret_is_in_the_files_in_clear(filled) -> None:
    filled.edit("a", settings={}, secrets=secrets(password="canary-changed"))
    with filled._database.writing() as held:
        held.execute("UPDATE connections SET version = version")
        files = list(filled.path.parent.iterdir())
        assert len(files) == 3
        data = b"".join(path.read_bytes() for path in files)
    assert b"eu-a" in data  # settings are in clear: the search finds what is there
    for text in (b"user-of-", b"pass-of-", b"canary-changed"):
        for form in (text, base64.b64encode(text)[:8], text.hex().encode(), text[::-1]):
            assert form not in data


def test_what_was_removed_is_overwritten(filled) -> None:
    with sqlite3.connect(filled.path) as opened:
        sealed = [data for (data,) in opened.execute("SELECT sealed FROM secrets")]
    opened.close()
    assert all(data in filled.path.read_bytes() for data in sealed)
    for name in "ab":
        filled.remove(name)
    assert not any(data in filled.path.read_bytes() for data in sealed)
