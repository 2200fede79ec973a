"""
Integrity: what it costs to run a Go plugin by its descriptor, and as a sealed copy that was hashed.

The parts are measured in one process, interleaved; then whole renders with and without a lock file, interleaved.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.processes import MIB, go_toolchain, median, run
from benchmarks.render import ROOT, build, go_arch
from benchmarks.startup import INJECTOR
from injector.backends.executables import this_platform
from injector.backends.lockfile import LockEntry
from injector.backends.program_file import ProgramFile

RUNS = 21


def opened(path: Path) -> ProgramFile:
    """Opened and checked, as every start does it."""
    program = ProgramFile.open(path)
    assert program.reason_against(this_platform()) == ("", "")
    return program


def start(path: Path, program: ProgramFile | None) -> None:
    """Executes the plugin, which ends at once without go-plugin's cookie."""
    executable, inherited = (program.executable, program.inherited) if program else (None, ())
    quiet = subprocess.DEVNULL
    subprocess.run([path], executable=executable, pass_fds=inherited, env={}, check=False, stdout=quiet, stderr=quiet)


def parts(path: Path) -> None:
    data = path.read_bytes()
    pin = LockEntry(hashlib.sha256(data).hexdigest(), len(data))
    seconds: dict[str, list[float]] = {}

    def measured(name: str, began: float) -> None:
        seconds.setdefault(name, []).append(time.perf_counter() - began)

    for _ in range(RUNS):
        began = time.perf_counter()
        program = opened(path)
        measured("open and check", began)
        began = time.perf_counter()
        program.hold_to(pin, "demo")
        measured("copy, seal, hash", began)
        program.close()
        with opened(path) as plain, opened(path) as pinned:
            pinned.hold_to(pin, "demo")
            for name, each in (("run by name", None), ("run by descriptor", plain), ("run the sealed copy", pinned)):
                began = time.perf_counter()
                start(path, each)
                measured(name, began)
    print(f"{'a Go plugin of':34} {len(data) / MIB:8.1f} MiB   (median of {RUNS})")
    for name, times in seconds.items():
        print(f"{name:34} {statistics.median(times) * 1e3:8.2f} ms")


def renders(work: Path) -> None:
    (work / "template").write_text("a=DEMOSTORE:///x\n")
    subprocess.run([INJECTOR, "plugin", "lock"], cwd=work, check=True, capture_output=True)
    cases = {"render, unlocked": "off", "render, locked": "required"}
    runs: dict[str, list] = {name: [] for name in cases}
    for _ in range(RUNS):
        for name, verify in cases.items():
            runs[name].append(run([INJECTOR, "render", "template", "--plugin-verify", verify], cwd=work))
    for name, done in runs.items():
        one = median(done)
        print(
            f"{name:34} {one.wall * 1e3:8.1f} ms wall {one.cpu * 1e3:8.1f} ms cpu "
            f"{one.peak / MIB:6.1f} MiB host {one.child_peak / MIB:6.1f} MiB plugin"
        )


def main() -> None:
    go = go_toolchain()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        path = work / ".configmanager" / "plugins" / "demostore" / f"demostore-linux-{go_arch()}"
        path.parent.mkdir(parents=True)
        build(go, ROOT / "examples" / "plugins" / "go", "./cmd/demostore", path)
        os.environ.pop("INJECTOR_CONFIG", None)
        parts(path)
        renders(work)


if __name__ == "__main__":
    main()
