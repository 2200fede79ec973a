"""
Kills a process that changes the store of connections at every system call. Run as a program.

    python connection_sweep.py CHANGE DIRECTORY     one JSON line for each place of death

A line has the `state` that was found ("old" or "new", or what is wrong), whether the change could then be made again
(`last`), and what was left in the end (`strays`). The killer is that of syscall_sweep.py.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import stat
import sys
from pathlib import Path

from syscall_sweep import CALLS, _start, _Stops, why_not

from injector.connections.master_key import identity
from injector.connections.sealing import key_text, new_key, read_key
from injector.connections.store import ConnectionStore
from injector.errors import ConnectionExists, ConnectionUnknown, InjectorError
from injector.model.secret import Secret

OLD = {"a": {"password": "a-1"}, "b": {"password": "b-1", "token": "b-2"}}


def store_in(root):
    return ConnectionStore(root / "data" / "connections.db", root / "config" / "master.key")


def add(store, name, secrets):
    store.add(name, "DEMO", {"region": name}, {field: Secret(text.encode()) for field, text in secrets.items()})


class Change:
    """A change: what is there before and after it."""

    def __init__(self, before, after, make, refused=()):
        self.before, self.after, self.make, self._refused = before, after, make, refused

    def prepare(self, root):
        root.mkdir()
        for name, secrets in self.before.items():
            add(store_in(root), name, secrets)

    def make_again(self, root):
        with contextlib.suppress(self._refused):
            self.make(store_in(root))

    def state(self, root):
        """ "old" or "new" when everything opens and is the one or the other."""
        store = store_in(root)
        try:
            found = {
                each.name: {field: secret.reveal().decode() for field, secret in store.load(each.name).secrets.items()}
                for each in store.summaries()
            }
        except InjectorError as error:
            return f"{error.code}: {error.message}"
        return "old" if found == self.before else "new" if found == self.after else f"torn: {found}"

    def strays(self, root):
        return [path.name for path in (root / "config").iterdir() if path.name.endswith((".tmp", ".new"))]


class Rotation(Change):
    """All connections stay; it is the key that is old or new."""

    def __init__(self, *, forget):
        super().__init__(OLD, OLD, lambda store: store.rotate_key(forget=forget))

    def state(self, root):
        if (state := super().state(root)) != "old":
            return state
        used = sealed_with(root)
        return "old" if used == {self._first} else "new" if len(used) == 1 else f"torn: {used}"

    def prepare(self, root):
        super().prepare(root)
        self._first = identity(read_key(root / "config" / "master.key"))


class RotationToFile(Rotation):
    """The key of a file that is there already."""

    def __init__(self):
        Change.__init__(self, OLD, OLD, self._rotate)

    @staticmethod
    def _rotate(store):
        store.rotate_key(new_key_file=store.key_file.with_name("master.key.mounted"))

    def prepare(self, root):
        super().prepare(root)
        other = root / "config" / "master.key.mounted"
        other.write_bytes(key_text(new_key()))
        other.chmod(0o600)
        # The keys are found by their identities, as they are where several keys of one Secret are mounted.
        os.link(other, root / "config" / f"master.key.{identity(read_key(other))}")


def sealed_with(root):
    with store_in(root)._database.reading() as database:
        return {key_id for (key_id,) in database.execute("SELECT key_id FROM connections")}


CHANGES = {
    "first": Change({}, {"a": OLD["a"]}, lambda store: add(store, "a", OLD["a"]), ConnectionExists),
    "add": Change(OLD, OLD | {"c": {"key": "c-1"}}, lambda store: add(store, "c", {"key": "c-1"}), ConnectionExists),
    "edit": Change(
        OLD,
        OLD | {"b": {"password": "b-3", "token": "b-2"}},
        lambda store: store.edit("b", settings={}, secrets={"password": Secret(b"b-3")}),
    ),
    "remove": Change(OLD, {"a": OLD["a"]}, lambda store: store.remove("b"), ConnectionUnknown),
    "rotate": Rotation(forget=False),
    "rotate-forget": Rotation(forget=True),
    "rotate-to-file": RotationToFile(),
}


def open_to_others(root):
    return [
        f"{path.name} {stat.S_IMODE(path.stat().st_mode):o}"
        for path in root.rglob("*")
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) != 0o600
    ]


def kill_everywhere(change, base):
    prepared = base / "prepared"
    change.prepare(prepared)
    change.make(store_in(shutil.copytree(prepared, base / "warm")))  # imports, in this process
    for number in itertools.count(1):
        root = shutil.copytree(prepared, base / str(number))
        stops = _Stops(_start(lambda root=root: change.make(store_in(root)), base / "answer"))
        line = {"place": None}
        for count, (entry, call) in enumerate(stops, 1):
            if count == number:
                stops.kill()
                line = {"place": number, "call": CALLS.get(call, str(call)), "entry": entry}
                break
        else:
            stops.finish()
        line["open"] = open_to_others(root)
        line["state"] = change.state(root)
        change.make_again(root)
        print(json.dumps(line | {"last": change.state(root), "strays": change.strays(root)}))
        if line["place"] is None:
            return
        shutil.rmtree(root)


if __name__ == "__main__":
    os.fsync = lambda _: None  # what is killed here is a process, not a machine
    if refused := why_not():
        print(json.dumps({"skip": refused}))
    else:
        kill_everywhere(CHANGES[sys.argv[1]], Path(sys.argv[2]))
