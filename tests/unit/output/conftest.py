"""A publisher in a process of its own: as another user, on another mount, or killed at a chosen moment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

_PUBLISH = """
import json, os, sys
from pathlib import Path
from injector.errors import InjectorError
from injector.model.policy import WriteMode
from injector.output.publisher import PublishRequest, publish

task = json.load(sys.stdin)
if task["uid"] is not None:
    os.setgroups([])
    os.setresgid(*[task["uid"]] * 3)
    os.setresuid(*[task["uid"]] * 3)
if "write" in task["options"]:
    task["options"]["write"] = WriteMode(task["options"]["write"])
requests = [
    PublishRequest(
        Path(r["target"]), bytes.fromhex(r["data"]), root=Path(r["root"]) if r["root"] else None, **task["options"]
    )
    for r in task["requests"]
]
answer = {}
try:
    answer["changed"] = [done.changed for done in publish(requests)]
except InjectorError as error:
    answer |= {"code": error.code, "message": error.message, "hint": error.hint}
directory = task["look"]
answer["files"] = {
    name: open(os.path.join(directory, name), "rb").read().hex() for name in os.listdir(directory)
} if directory else {}
print(json.dumps(answer))
"""

_KILL = """
import json, os, signal, sys
from pathlib import Path
import injector.output.publisher as publisher
from injector.output.publisher import PublishRequest, publish

base, roots = Path(sys.argv[1]), ("a", "a", "b", "a")
names = [f"file{n}" for n in range(len(roots))]
CALLS = ("open", "write", "fsync", "fchmod", "rename", "unlink", "mkdir", "close", "stat", "fstat", "listdir")

def new_content(name):
    return (name + "-new").encode() * 2000

def killing(number, moment):
    seen = 0
    def wrap(name, function):
        def call(*args, **kwargs):
            nonlocal seen
            seen += 1
            if seen == number and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if seen == number and moment == "within" and name == "write":
                function(args[0], args[1][: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return call
    for name in CALLS:
        setattr(os, name, wrap(name, getattr(os, name)))

number = 0
while True:
    number += 1
    finished = False
    for moment in ("before", "within", "after"):
        root = base / f"{number}-{moment}"
        for directory in set(roots):
            (root / directory).mkdir(parents=True)
        for directory, name in zip(roots, names):
            (root / directory / name).write_bytes(b"old")
        requests = [PublishRequest(Path(d, n), new_content(n), root=root) for d, n in zip(roots, names)]
        child = os.fork()
        if not child:
            killing(number, moment)
            publish(requests)
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        finished = finished or not killed
        states = []
        for directory, name in zip(roots, names):
            content = (root / directory / name).read_bytes()
            states.append({b"old": "old", new_content(name): "new"}.get(content, "torn"))
        print(json.dumps({"root": str(root), "killed": killed, "states": states}))
    if finished:
        break
"""


class Elsewhere:
    """Publishes in a child process; `look` is a directory whose files come back with the answer."""

    def publish(self, requests, *, uid=None, setup="", look=None, **options):
        task = {
            "uid": uid,
            "look": str(look) if look else None,
            "options": options,
            "requests": [
                {"target": str(target), "data": data.hex(), "root": str(root) if root else None}
                for target, data, root in requests
            ],
        }
        command = [sys.executable, "-c", _PUBLISH]
        if setup:
            command = ["unshare", "-m", "sh", "-ec", f'{setup}\nexec "$@"', "sh", *command]
        done = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        answer["files"] = {name: bytes.fromhex(data) for name, data in answer["files"].items()}
        return answer


@pytest.fixture
def elsewhere():
    return Elsewhere()


@pytest.fixture
def own_mounts(tmp_path):
    """Skips where this process may not mount anything."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("mount"):
        pytest.skip("needs root, unshare and mount")
    probe = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True, text=True, check=False
    )
    if probe.returncode:
        pytest.skip(f"mounting is not permitted here: {probe.stderr.strip()}")


@pytest.fixture
def unprivileged():
    """The uid to run as; the test's own directories must be reachable for it."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    return 65532


@pytest.fixture
def open_tmp():
    """A temporary directory that every user can reach: pytest closes its own to others, also while tests run."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@pytest.fixture
def killed_publishers(tmp_path):
    """Publishes four files in two directories, killed before, within and after its n-th call, for every n."""
    done = subprocess.run(
        [sys.executable, "-c", _KILL, str(tmp_path)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def syscall_sweep(tmp_path):
    """Runs tests/syscall_sweep.py: its lines but the last, which says that a publish got through."""

    def run(*arguments):
        what, scenario, *rest = map(str, arguments)
        program = Path(__file__).parents[2] / "syscall_sweep.py"
        done = subprocess.run(
            [sys.executable, str(program), what, scenario, str(tmp_path), *rest],
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        if "skip" in lines[0]:
            pytest.skip(lines[0]["skip"])
        *places, last = lines
        assert (last["place"], last["state"], last["strays"]) == (None, "new", [])
        return places

    return run
