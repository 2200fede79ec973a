"""
Stops a real publisher at every system call, and kills it there or makes the call fail. Run as a program.

    python syscall_sweep.py kill SCENARIO DIRECTORY          one JSON line for each place of death
    python syscall_sweep.py fail SCENARIO DIRECTORY ERRNO    one JSON line for each failed call
    python syscall_sweep.py watch SCENARIO DIRECTORY UMASK MODE [OWNER GROUP]
        one JSON line for each state of a file below DIRECTORY that somebody could have met at some stop

A child is forked for each place and traced by ptrace(2): no strace, no compiler. Places are the entry and the exit of
each call between the start of the publish and its end (which a getpgid of an impossible process marks).
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import signal
import stat
import struct
import sys
from pathlib import Path

from injector.errors import InjectorError
from injector.model.policy import WriteMode
from injector.output.publisher import PublishRequest, publish
from injector.output.sets import SetFile, publish_set, repair
from injector.output.staging import sweep

_TRACEME, _POKEUSER, _CONT, _SYSCALL, _SETOPTIONS, _SYSCALL_INFO = 0, 6, 7, 24, 0x4200, 0x420E
_OPTIONS = 1 | 0x100000  # TRACESYSGOOD, EXITKILL
_ENTRY = 1
_RAX, _ORIG_RAX = 80, 120  # offsets in x86_64's struct user
_NO_PROCESS = 0x7FFFFFF2
_STOP = 0x80 | signal.SIGTRAP

# x86_64: what a publish asks of a file system. Other calls (memory, locks of threads) cannot answer with these errors.
CALLS = {
    0: "read", 1: "write", 3: "close", 5: "fstat", 8: "lseek", 17: "pread64", 18: "pwrite64", 73: "flock", 74: "fsync",
    77: "ftruncate", 82: "rename", 91: "fchmod", 217: "getdents64", 257: "openat", 258: "mkdirat", 262: "newfstatat",
    263: "unlinkat", 264: "renameat", 266: "symlinkat", 267: "readlinkat", 268: "fchmodat", 285: "fallocate",
    293: "pipe2", 2: "open", 83: "mkdir", 87: "unlink", 4: "stat", 6: "lstat",
}  # fmt: skip
_SPACE = {"write", "pwrite64", "fsync", "openat", "mkdirat", "symlinkat", "renameat", "rename", "fallocate"}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def _ptrace(request, pid, address=None, data=None):
    if _libc.ptrace(request, pid, address, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _start(action, answer):
    """A forked child that stands right before *action*; its outcome goes to the file *answer*."""
    pid = os.fork()
    if not pid:
        try:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            outcome = _outcome(action)
            answer.write_text(json.dumps(outcome))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    _ptrace(_SETOPTIONS, pid, None, _OPTIONS)
    return pid


def _outcome(action):
    try:
        action()
        outcome = {"code": "done"}
    except InjectorError as error:
        outcome = {"code": error.code, "message": error.message, "hint": error.hint}
    except BaseException as error:  # noqa: BLE001  # it is the finding
        outcome = {"code": f"traceback: {type(error).__name__}: {error}"}
    try:
        os.getpgid(_NO_PROCESS)
    except ProcessLookupError:
        return outcome
    raise AssertionError


class _Stops:
    """The stops of a traced child, in order: (is an entry, number of the call)."""

    def __init__(self, pid):
        self._pid = pid
        self._info = ctypes.create_string_buffer(88)
        self.ended = False

    def __iter__(self):
        call = -1
        while True:
            _ptrace(_SYSCALL, self._pid)
            _, status = os.waitpid(self._pid, 0)
            if not os.WIFSTOPPED(status):
                self.ended = True
                return
            if os.WSTOPSIG(status) != _STOP:
                continue
            if _libc.ptrace(_SYSCALL_INFO, self._pid, len(self._info), ctypes.addressof(self._info)) < 0:
                raise OSError(ctypes.get_errno(), "PTRACE_GET_SYSCALL_INFO")
            entry = self._info.raw[0] == _ENTRY
            if entry:
                call, first = struct.unpack_from("<2Q", self._info.raw, 24)
                if first == _NO_PROCESS:
                    return
            yield entry, call

    def finish(self):
        if not self.ended:
            _ptrace(_CONT, self._pid)
            os.waitpid(self._pid, 0)

    def kill(self):
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def replace_call(self):
        _ptrace(_POKEUSER, self._pid, _ORIG_RAX, ctypes.c_void_p(-1).value)

    def answer(self, number):
        _ptrace(_POKEUSER, self._pid, _RAX, ctypes.c_void_p(-number).value)


# ------------------------------------------------------------------------------------------------------- scenarios


def _files(word, *names):
    return {name: f"{word} {name} ".encode() * 700 for name in names}


class Replaced:
    """Files that are replaced one by one, in this order, each in its directory."""

    def __init__(self, old, new, write=WriteMode.RENAME):
        self.old, self.new, self._write = old, new, write

    def publish(self, root, files, **attributes):
        attributes |= {"root": root, "write": self._write}
        publish([PublishRequest(Path(name), data, **attributes) for name, data in files.items()])

    def repair(self, root):
        for directory in {(root / name).parent for name in (*self.old, *self.new)}:
            if directory.is_dir():
                sweep(directory)

    def state(self, root):
        found = _found(root, {*self.old, *self.new})
        if found == self.old:
            return "old"
        names = list(self.new)
        for count in range(len(names), 0, -1):
            if found == self.old | {name: self.new[name] for name in names[:count]}:
                return "new" if count == len(names) else "some"
        return f"torn: {found}"

    def strays(self, root):
        return [str(path.relative_to(root)) for path in root.rglob("*") if ".injector-" in path.name]


class Set:
    """A set of files, swapped as a whole."""

    def __init__(self, old, new):
        self.old, self.new = old, new

    def publish(self, root, files, **attributes):
        publish_set(root, [SetFile(name, data, **attributes) for name, data in files.items()])

    def repair(self, root):
        repair(root)

    def state(self, root):
        names = {*self.old, *self.new}
        by_name, by_data = _found(root, names), _found(root / "..data", names)
        for state, files in (("new", self.new), ("old", self.old)):
            if by_name == by_data == files:
                return state
        return f"torn: {by_name} {by_data}"

    def strays(self, root):
        current = os.readlink(root / "..data") if os.path.lexists(root / "..data") else None
        known = {"..data", current} if current else set()
        first = {name.split("/")[0] for name in (os.listdir(root / "..data") if current else ())}
        return sorted({*os.listdir(root)} ^ (known | first)) if root.exists() else []


def _found(directory, names):
    found = {}
    for name in names:
        try:
            found[name] = (directory / name).read_bytes()
        except FileNotFoundError:
            continue
    return found


SCENARIOS = {
    "one": Replaced(_files("old", "a"), _files("new", "a")),
    "several": Replaced(_files("old", "a", "d/b"), _files("new", "a", "d/b", "d/c")),
    "in-place": Replaced(_files("old", "a"), {"a": b"newer " * 2000}, WriteMode.IN_PLACE),
    "set-first": Set({}, _files("new", "a", "d/b")),
    "set-update": Set(_files("old", "a", "d/b"), _files("new", "a", "d/b")),
    "set-change": Set(_files("old", "a", "b", "d/c"), _files("new", "a", "d/e", "f/g")),
}


# ---------------------------------------------------------------------------------------------------------- sweeps


def _prepared(scenario, root):
    root.mkdir()
    if scenario.old:
        scenario.publish(root, scenario.old)
    return root


def _afterwards(scenario, root, place):
    """What is there, what `repair` makes of it, and what the next publish makes of it."""
    state = scenario.state(root)
    strays = scenario.strays(root)
    scenario.repair(root)
    repaired = (scenario.state(root), scenario.strays(root))
    scenario.publish(root, scenario.new)
    last = (scenario.state(root), scenario.strays(root))
    print(json.dumps(place | {"state": state, "strays": strays, "repaired": repaired, "last": last}))


def _quickly(function, *arguments):
    """Without syncing: this process is not the one under test."""
    sync, os.fsync = os.fsync, lambda _: None
    try:
        return function(*arguments)
    finally:
        os.fsync = sync


def kill_everywhere(scenario, base):
    """Kills at place 1, 2, 3 … until a publish gets through."""
    number = 0
    while True:
        number += 1
        root = _quickly(_prepared, scenario, base / str(number))
        stops = _Stops(_start(lambda root=root: scenario.publish(root, scenario.new), base / "answer"))
        for count, (entry, call) in enumerate(stops, 1):
            if count == number:
                stops.kill()
                place = {"place": number, "call": CALLS.get(call, str(call)), "entry": entry}
                _quickly(_afterwards, scenario, root, place)
                break
        else:
            stops.finish()
            print(json.dumps({"place": None, "state": scenario.state(root), "strays": scenario.strays(root)}))
            return


def fail_everywhere(scenario, base, error):
    """Lets the first, second, third … call of a file system answer with *error*, until there are no more."""
    number = 0
    while True:
        number += 1
        root = _quickly(_prepared, scenario, base / str(number))
        answer = base / f"{number}.json"
        stops = _Stops(_start(lambda root=root: scenario.publish(root, scenario.new), answer))
        failed = _fail(stops, number, error)
        stops.finish()
        outcome = json.loads(answer.read_text())
        if failed is None:
            print(json.dumps({"place": None, "state": scenario.state(root), "strays": scenario.strays(root)} | outcome))
            return
        _quickly(_afterwards, scenario, root, {"place": number, "call": failed} | outcome)


def watch(scenario, base, umask, attributes):
    """Looks at every file at every stop; the old files, with other attributes, are there from the start."""
    root = _quickly(_prepared, scenario, base / "watched")
    old = {os.stat(path).st_ino for path in root.rglob("*")}
    os.umask(umask)
    stops = _Stops(_start(lambda: scenario.publish(root, scenario.new, **attributes), base / "answer"))
    met = set()
    for _ in stops:
        for path in root.rglob("*"):
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_ino not in old:
                met.add((stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_size > 0))
    stops.finish()
    for mode, owner, group, filled in sorted(met):
        print(json.dumps({"mode": mode, "owner": owner, "group": group, "filled": filled}))
    print(json.dumps({"place": None, "state": scenario.state(root), "strays": scenario.strays(root)}))


def _fail(stops, number, error):
    seen, failed, failing = 0, None, False
    for entry, call in stops:
        name = CALLS.get(call)
        if entry and name and (error != errno.ENOSPC or name in _SPACE):
            seen += 1
            failing = seen == number
            if failing:
                failed = name
                stops.replace_call()
        elif failing and not entry:
            stops.answer(error)
            failing = False
    return failed


def why_not(*, failing=False):
    """Why no process can be stopped here; None when it can be."""
    if failing and platform.machine() != "x86_64":
        return "system calls are made to fail on x86_64 only"
    try:
        stops = _Stops(_start(os.getppid, Path(os.devnull)))
        list(stops)
        stops.finish()
    except OSError as error:
        return f"ptrace is not permitted here: {error}"
    return None


if __name__ == "__main__":
    what, which, where, *rest = sys.argv[1:]
    if refused := why_not(failing=what == "fail"):
        print(json.dumps({"skip": refused}))
    elif what == "kill":
        kill_everywhere(SCENARIOS[which], Path(where))
    elif what == "watch":
        umask, mode, *ids = rest
        given = dict(zip(("owner", "group"), map(int, ids), strict=False))
        watch(SCENARIOS[which], Path(where), int(umask, 8), {"mode": int(mode, 8)} | given)
    else:
        fail_everywhere(SCENARIOS[which], Path(where), int(rest[0]))
