"""
Times whole processes: wall, CPU of the process and of everything it waited for, peak memory of each.

Python is timed as it is installed, by pip and in the image: compiled. An editable installation on a machine that sets
PYTHONDONTWRITEBYTECODE compiles each module at each start, which doubles the time of a short command.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds and bytes. `cpu` has the children's, too. `child_peak` is that of the largest child seen."""

    wall: float
    cpu: float
    peak: int
    child_peak: int


def run(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Run:
    """Runs *command* once; raises when it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env=compiled(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    peaks = {"own": 0, "child": 0}
    done = threading.Event()
    sampler = threading.Thread(target=_sample, args=(process.pid, peaks, done))
    sampler.start()
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    done.set()
    sampler.join()
    process.stderr.close()
    if process.returncode != 0:
        raise SystemExit(f"{command} ended with {process.returncode}: {errors.decode(errors='replace')[:2000]}")
    return Run(wall, usage.ru_utime + usage.ru_stime, peaks["own"], peaks["child"])


def compiled(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """*env* (default: ours) for a Python that keeps what it compiles, away from the sources; its first run is slow."""
    given = dict(os.environ if env is None else env)
    given.pop("PYTHONDONTWRITEBYTECODE", None)
    return given | {"PYTHONPYCACHEPREFIX": str(_bytecode())}


@functools.cache
def _bytecode() -> Path:
    path = Path(tempfile.mkdtemp(prefix="bytecode-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def median(runs: Sequence[Run]) -> Run:
    """The median of each figure."""
    return Run(*(statistics.median(getattr(one, name) for one in runs) for name in Run.__slots__))


def _sample(pid: int, peaks: dict[str, int], done: threading.Event) -> None:
    # VmHWM is the kernel's own peak, so a look every few milliseconds misses nothing but the last moment.
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while not done.wait(0.002):
        try:
            peaks["own"] = max(peaks["own"], _peak(pid))
            for child in children.read_text().split():
                peaks["child"] = max(peaks["child"], _peak(int(child)))
        except (FileNotFoundError, ProcessLookupError):
            continue


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def go_toolchain(*, otherwise: str = "") -> str:
    """The `go` command; ends the benchmark when there is none. *otherwise* says what would do instead."""
    go = shutil.which("go")
    if go is None:
        raise SystemExit(f"needs the Go toolchain{otherwise}")
    return go
