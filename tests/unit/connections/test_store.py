"""The store as its users meet it: add, edit, remove, rotate; who may read its files; other versions of it."""

from __future__ import annotations

import gc
import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from connection_texts import secrets, tamper

from injector.connections import database, sealing
from injector.connections.master_key import identity
from injector.connections.store import ConnectionStore
from injector.errors import (
    ConnectionExists,
    ConnectionInvalid,
    ConnectionStoreInvalid,
    ConnectionStoreUnwritable,
    ConnectionUnknown,
    KeyFileInvalid,
    SealBroken,
)
from injector.model.secret import Secret


@pytest.mark.seed("000:89")
def test_a_connection_comes_back_as_it_was_added(store) -> None:
    settings = {"region": "eu-west-1", "nested": {"list": [1, 2.5, None, True, "größe"]}}
    added = store.add("prod-eu", "awsparamstr", settings, secrets(token="grün\nzwei", empty=""))
    assert (added.prefix, added.version, added.secret_fields) == ("AWSPARAMSTR", 1, ("empty", "token"))
    loaded = store.load("prod-eu")
    assert loaded.summary() == added
    assert loaded.settings == settings
    assert loaded.configuration() == settings | {"token": "grün\nzwei", "empty": ""}
    assert store.summaries() == (added,)


def test_a_store_that_is_not_there_has_no_connections_and_is_not_made_by_a_look(store) -> None:
    assert store.summaries() == ()
    with pytest.raises(ConnectionUnknown, match="`prod`") as caught:
        store.load("prod")
    assert "connection add" in str(caught.value.hint)
    assert not store.path.parent.exists()
    assert not store.key_file.exists()


def test_an_unknown_name_is_told_with_those_that_come_near(filled) -> None:
    filled.add("prod-eu", "DEMO", {}, {})
    for action in (filled.load, filled.remove, lambda name: filled.edit(name, settings={"x": 1}, secrets={})):
        with pytest.raises(ConnectionUnknown) as caught:
            action("prd-eu")
        assert caught.value.hint == "did you mean prod-eu?"


@pytest.mark.seed("000:90", "000:173")
def test_ids_are_never_used_again(store) -> None:
    seen = set()
    for _ in range(5):
        seen.add(store.add("again", "DEMO", {}, {}).id)
        assert store.remove("again").id in seen
    assert len(seen) == 5


def test_an_edit_changes_what_is_given_and_nothing_else(filled, reveal) -> None:
    before = filled.load("a")
    filled.edit("a", settings={"zone": 3}, secrets=secrets(password="new", region="was a setting"), remove=["user"])
    after = filled.load("a")
    assert (after.id, after.version) == (before.id, 2)
    assert after.settings == {"zone": 3}
    assert reveal(filled, "a") == {"password": "new", "region": "was a setting"}
    assert reveal(filled, "b") == {"user": "user-of-b", "password": "pass-of-b"}


def test_a_renamed_connection_keeps_its_id_and_its_secrets(filled, reveal) -> None:
    before = filled.load("a")
    assert filled.edit("a", settings={}, secrets={}, new_name="c").id == before.id
    assert reveal(filled, "c") == {"user": "user-of-a", "password": "pass-of-a"}
    with pytest.raises(ConnectionExists):
        filled.edit("c", settings={}, secrets={}, new_name="b")
    with pytest.raises(ConnectionUnknown):
        filled.load("a")


def test_a_name_is_taken_once(filled) -> None:
    with pytest.raises(ConnectionExists, match="`a`"):
        filled.add("a", "OTHER", {}, {})
    assert filled.load("a").prefix == "DEMO"


@pytest.mark.parametrize("name", ["", "Prod", "a b", "-a", "a-", "a/b", "a,b", "x" * 64, "a\n", "ä"])
def test_names_that_no_token_can_have_are_refused(store, name) -> None:
    with pytest.raises(ConnectionInvalid):
        store.add(name, "DEMO", {}, {})


@pytest.mark.parametrize(
    ("prefix", "settings", "fields"),
    [
        ("DE MO", {}, {}),
        ("", {}, {}),
        ("DEMO", {"a b": 1}, {}),
        ("DEMO", {}, {"": Secret(b"hunter2")}),
        ("DEMO", {"x": 1}, {"x": Secret(b"hunter2")}),
        ("DEMO", {}, {"x": Secret(b"hunter2\xff")}),
        ("DEMO", {"x": "hunter2\udcff"}, {}),
        ("DEMO", {"x": float("nan")}, {}),
    ],
)
def test_what_cannot_be_a_connection_is_refused_and_leaves_nothing(store, prefix, settings, fields) -> None:
    with pytest.raises(ConnectionInvalid) as caught:
        store.add("a", prefix, settings, fields)
    assert "hunter2" not in str(caught.value) + str(caught.value.hint)
    assert store.summaries() == ()


def test_removing_a_field_that_is_not_there_is_an_error(filled) -> None:
    with pytest.raises(ConnectionInvalid, match="no field nothing"):
        filled.edit("a", settings={}, secrets={}, remove=["nothing"])
    assert filled.load("a").version == 1


# ------------------------------------------------------------------------------------------------------------ rotation


def test_after_a_rotation_everything_opens_with_the_new_key_and_an_old_backup_with_the_old_one(
    filled, reveal, tmp_path
) -> None:
    backup = tmp_path / "backup.db"
    backup.write_bytes(filled.path.read_bytes())
    backup.chmod(0o600)
    old_key = tmp_path / "old.key"
    old_key.write_bytes(filled.key_file.read_bytes())
    old_key.chmod(0o600)

    done = filled.rotate_key(forget=True)
    assert (done.connections, done.former) == (2, None)
    assert identity(sealing.read_key(filled.key_file)) == done.key_id
    assert sorted(path.name for path in filled.key_file.parent.iterdir()) == ["master.key"]
    for name in "ab":
        assert reveal(filled, name) == {"user": f"user-of-{name}", "password": f"pass-of-{name}"}
        assert reveal(ConnectionStore(backup, old_key), name) == reveal(filled, name)
        with pytest.raises(SealBroken, match="sealed with the master key"):
            ConnectionStore(backup, filled.key_file).load(name)
        with pytest.raises(SealBroken, match="sealed with the master key"):
            ConnectionStore(filled.path, old_key).load(name)


def test_the_former_key_stays_for_backups_unless_it_is_to_be_forgotten(filled, reveal, tmp_path) -> None:
    backup = filled.path.read_bytes()
    done = filled.rotate_key()
    assert stat.S_IMODE(done.former.stat().st_mode) == 0o600
    filled.path.write_bytes(backup)
    assert reveal(filled, "a") == {"user": "user-of-a", "password": "pass-of-a"}
    filled.rotate_key()
    assert reveal(filled, "b") == {"user": "user-of-b", "password": "pass-of-b"}


def test_two_stores_that_share_a_key_survive_each_others_rotations(filled, reveal, tmp_path) -> None:
    other = ConnectionStore(tmp_path / "other" / "x.db", filled.key_file)
    other.add("o", "DEMO", {}, secrets(password="o-1"))
    filled.rotate_key()
    assert reveal(other, "o") == {"password": "o-1"}
    other.rotate_key()
    other.add("p", "DEMO", {}, secrets(password="p-1"))
    filled.add("c", "DEMO", {}, secrets(password="c-1"))
    assert [reveal(filled, "c"), reveal(filled, "a")["user"], reveal(other, "p")] == [
        {"password": "c-1"},
        "user-of-a",
        {"password": "p-1"},
    ]


def test_a_rotation_to_a_given_key_leaves_key_files_alone(filled, reveal, tmp_path) -> None:
    new = tmp_path / "new.key"
    new.write_bytes(sealing.key_text(sealing.new_key()))
    new.chmod(0o600)
    before = filled.key_file.read_bytes()
    assert filled.rotate_key(new_key_file=new).connections == 2
    assert filled.key_file.read_bytes() == before
    assert reveal(ConnectionStore(filled.path, new), "a") == {"user": "user-of-a", "password": "pass-of-a"}
    with pytest.raises(SealBroken):
        filled.load("a")


def test_a_rotation_that_forgets_the_key_while_a_connection_is_read_is_not_in_its_way(filled, monkeypatch) -> None:
    read = ConnectionStore._read
    rotations = [True, True]

    def slowly(self, name):
        found = read(self, name)
        if rotations:
            rotations.pop()
            self.rotate_key(forget=True)
        return found

    monkeypatch.setattr(ConnectionStore, "_read", slowly)
    assert filled.load("a").configuration()["password"] == "pass-of-a"


def test_without_connections_there_is_nothing_to_rotate(store) -> None:
    assert store.rotate_key().key_id is None
    store.add("a", "DEMO", {}, {})
    store.remove("a")
    assert store.rotate_key().connections == 0


def test_a_rotation_over_a_connection_that_was_changed_changes_nothing(filled, reveal) -> None:
    tamper(filled.path, "UPDATE connections SET prefix = 'EVIL' WHERE name = 'b'")
    before = filled.key_file.read_bytes()
    with pytest.raises(SealBroken, match="`b`"):
        filled.rotate_key()
    assert filled.key_file.read_bytes() == before
    assert reveal(filled, "a") == {"user": "user-of-a", "password": "pass-of-a"}
    filled.remove("b")
    assert filled.rotate_key().connections == 1


# --------------------------------------------------------------------------------------------------------------- files


def test_only_the_owner_reads_files_and_directories_also_while_they_are_open(filled) -> None:
    def modes(directory: Path) -> dict[str, int]:
        return {path.name: stat.S_IMODE(path.stat().st_mode) for path in [directory, *directory.iterdir()]}

    with filled._database.writing() as held:
        held.execute("UPDATE connections SET version = version")
        assert modes(filled.path.parent) == {
            "data": 0o700,
            "connections.db": 0o600,
            "connections.db-wal": 0o600,
            "connections.db-shm": 0o600,
        }
    assert modes(filled.key_file.parent) == {"config": 0o700, "master.key": 0o600}


def test_a_wide_umask_opens_nothing(tmp_path) -> None:
    before = os.umask(0)
    try:
        store = ConnectionStore(tmp_path / "d" / "c.db", tmp_path / "k" / "key")
        store.add("a", "DEMO", {}, {})
        store.rotate_key()
        with store._database.writing() as held:
            held.execute("UPDATE connections SET version = version")
            found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    finally:
        os.umask(before)
    assert set(found.values()) == {0o700, 0o600}
    assert {name for name, mode in found.items() if mode == 0o700} == {"d", "k"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_store_that_others_may_read_is_refused(filled, mode) -> None:
    filled.path.chmod(mode)
    with pytest.raises(ConnectionStoreInvalid, match="others may read") as caught:
        filled.load("a")
    assert caught.value.hint == f"chmod 600 {filled.path}"


def test_a_directory_that_others_may_change_is_refused(filled) -> None:
    filled.path.parent.chmod(0o770)
    with pytest.raises(ConnectionStoreInvalid, match="others may change"):
        filled.summaries()


def test_a_key_file_that_others_may_read_is_refused(filled) -> None:
    filled.key_file.chmod(0o640)
    with pytest.raises(KeyFileInvalid, match="others may read"):
        filled.load("a")


@pytest.mark.parametrize("content", [b"", b"hunter2", b"aHVudGVyMg==\n", b"A" * 4096, b"\xff\xfe"])
def test_a_key_file_that_holds_no_key_is_told_without_its_content(filled, content) -> None:
    filled.key_file.write_bytes(content)
    with pytest.raises(KeyFileInvalid, match="does not hold a key") as caught:
        filled.load("a")
    assert "hunter2" not in str(caught.value)


def test_a_missing_key_is_told_and_no_other_is_made_for_connections_that_need_it(filled) -> None:
    filled.key_file.unlink()
    for action in (lambda: filled.load("a"), lambda: filled.add("c", "DEMO", {}, {}), filled.rotate_key):
        with pytest.raises(KeyFileInvalid, match="cannot be read"):
            action()
    assert not filled.key_file.exists()
    assert filled.remove("a").name == "a"  # what cannot be opened can still be thrown away


def test_a_file_of_another_program_is_left_alone(tmp_path) -> None:
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as theirs:
        theirs.execute("CREATE TABLE t (x)")
    theirs.close()
    path.chmod(0o600)
    store = ConnectionStore(path, tmp_path / "key")
    for action in (store.summaries, lambda: store.add("a", "DEMO", {}, {})):
        with pytest.raises(ConnectionStoreInvalid, match="another program"):
            action()
    assert not (tmp_path / "key").exists()


def test_a_store_of_a_newer_injector_is_left_alone(filled) -> None:
    tamper(filled.path, "PRAGMA user_version = 99")
    for action in (filled.summaries, lambda: filled.remove("a")):
        with pytest.raises(ConnectionStoreInvalid, match="newer injector"):
            action()


def test_an_older_store_is_brought_up_to_date_when_it_is_read(filled, reveal, monkeypatch) -> None:
    added = ("ALTER TABLE connections ADD COLUMN note TEXT NOT NULL DEFAULT ''",)
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, added))
    assert reveal(filled, "a") == {"user": "user-of-a", "password": "pass-of-a"}
    with filled._database.reading() as reading:
        assert reading.execute("SELECT note FROM connections").fetchall() == [("",), ("",)]
        assert reading.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_migration_that_fails_leaves_the_older_store(filled, reveal, monkeypatch) -> None:
    before = database.MIGRATIONS
    monkeypatch.setattr(database, "MIGRATIONS", (*before, ("ALTER TABLE connections ADD COLUMN n TEXT", "NONSENSE")))
    with pytest.raises(ConnectionStoreInvalid):
        filled.load("a")
    monkeypatch.setattr(database, "MIGRATIONS", before)
    assert reveal(filled, "a") == {"user": "user-of-a", "password": "pass-of-a"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_directory_is_read_and_not_written(filled, reveal) -> None:
    filled.path.parent.chmod(0o500)
    try:
        assert reveal(filled, "a") == {"user": "user-of-a", "password": "pass-of-a"}
        with pytest.raises(ConnectionStoreUnwritable):
            filled.remove("a")
    finally:
        filled.path.parent.chmod(0o700)


def test_a_store_that_is_locked_is_told(filled, monkeypatch) -> None:
    monkeypatch.setattr(database, "_WAIT", 0.1)
    with filled._database.writing(), pytest.raises(ConnectionStoreUnwritable, match="other processes hold it"):
        filled.remove("a")


def test_nothing_is_open_after_a_call_and_other_threads_may_call(filled, descriptors) -> None:
    before = descriptors()
    problems: list[BaseException] = []

    def work() -> None:
        try:
            filled.load("a")
            filled.summaries()
        except BaseException as error:  # noqa: BLE001  # told below
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert problems == []
    assert descriptors() == before


def test_keys_are_wiped_after_use(filled, monkeypatch) -> None:
    handed_out: list[bytearray] = []
    read = sealing.read_key

    def watched(path: Path) -> bytearray:
        handed_out.append(read(path))
        return handed_out[-1]

    new = sealing.new_key
    made: list[bytearray] = []

    def watched_new() -> bytearray:
        made.append(new())
        return made[-1]

    monkeypatch.setattr(sealing, "read_key", watched)
    monkeypatch.setattr(sealing, "new_key", watched_new)
    filled.load("a")
    filled.edit("a", settings={}, secrets=secrets(password="x"))
    filled.rotate_key()
    assert len(handed_out) > 3
    assert len(made) > 1
    assert {bytes(key) for key in handed_out + made} == {bytes(32)}
