"""Several processes that change one store at the same time."""

from __future__ import annotations

import subprocess
import sys

import pytest
from connection_texts import secrets

from injector.connections.master_key import identity
from injector.connections.sealing import read_key
from injector.connections.store import ConnectionStore

WRITER = """
import sys
from pathlib import Path
from injector.connections.store import ConnectionStore
from injector.errors import ConnectionExists
from injector.model.secret import Secret

number, turns = int(sys.argv[3]), int(sys.argv[4])
store = ConnectionStore(Path(sys.argv[1]), Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
for turn in range(turns):
    name = f"w{number}-{turn}"
    store.add(name, "DEMO", {"turn": turn}, {"token": Secret(f"secret-{name}".encode())})
    assert store.load(name).secrets["token"].reveal() == f"secret-{name}".encode()
    try:
        store.add("shared", "DEMO", {}, {"token": Secret(b"s")})
    except ConnectionExists:
        pass
    store.edit(name, settings={}, secrets={"token": Secret(f"edited-{name}".encode())})
    if turn % 2:
        store.remove(name)
    if number == 0:
        store.rotate_key(forget=bool(turn % 2))
    for each in store.summaries():
        assert each.prefix == "DEMO"
"""


@pytest.mark.timeout(400)
def test_eight_processes_add_edit_remove_and_rotate_side_by_side(store, reveal) -> None:
    turns = 6
    command = [sys.executable, "-c", WRITER, str(store.path), str(store.key_file)]
    writers = [
        subprocess.Popen(
            [*command, str(number), str(turns)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for number in range(8)
    ]
    try:
        for writer in writers:
            assert writer.stdout.readline() == b"ready\n"
        for writer in writers:  # all at once: also the store and the key are made by whoever comes first
            writer.stdin.write(b"\n")
            writer.stdin.flush()
        ends = [(*writer.communicate(timeout=300), writer.returncode) for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert [(errors.decode()[-2000:], code) for _, errors, code in ends] == [("", 0)] * 8
    left = {each.name for each in store.summaries()}
    assert left == {"shared"} | {f"w{number}-{turn}" for number in range(8) for turn in range(0, turns, 2)}
    for name in left - {"shared"}:
        assert reveal(store, name) == {"token": f"edited-{name}"}
    with store._database.reading() as database:
        used = {key_id for (key_id,) in database.execute("SELECT key_id FROM connections")}
    assert used == {identity(read_key(store.key_file))}
    beside = [path.name for path in store.key_file.parent.iterdir()]
    assert not [name for name in beside if name.endswith((".new", ".tmp"))]


ROTATOR = """
import sys
from pathlib import Path
from injector.connections.store import ConnectionStore

store = ConnectionStore(Path(sys.argv[1]), Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(25):
    store.rotate_key()
    assert store.load("only").secrets["token"].reveal() == sys.argv[1].encode()
"""


@pytest.mark.timeout(400)
def test_stores_that_share_a_key_file_rotate_side_by_side_and_lose_nothing(tmp_path) -> None:
    key_file = tmp_path / "key"
    stores = [ConnectionStore(tmp_path / f"{number}" / "c.db", key_file) for number in range(4)]
    for each in stores:
        each.add("only", "DEMO", {}, secrets(token=str(each.path)))
    rotators = [
        subprocess.Popen(
            [sys.executable, "-c", ROTATOR, str(each.path), str(key_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for each in stores
    ]
    try:
        for rotator in rotators:
            assert rotator.stdout.readline() == b"ready\n"
        for rotator in rotators:
            rotator.stdin.write(b"\n")
            rotator.stdin.flush()
        ends = [(*rotator.communicate(timeout=300), rotator.returncode) for rotator in rotators]
    finally:
        for rotator in rotators:
            rotator.kill()
            rotator.wait()
    assert [(errors.decode()[-2000:], code) for _, errors, code in ends] == [("", 0)] * 4
    for each in stores:
        assert each.load("only").secrets["token"].reveal() == str(each.path).encode()
