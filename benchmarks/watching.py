"""
Watching: from the kubelet's switch of `..data` to the callback, and what a watcher costs while nothing happens.

`python -m benchmarks watching`. The switches are made by another process, 20 ms apart, as the kubelet makes them; both
processes read the same monotonic clock. Idle processor time is that of a whole process, of 20 seconds, beside one
that only sleeps in an event loop; a rescan every 5 seconds is in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from injector.telemetry.logs import Log
from injector.telemetry.meter import Meter
from injector.telemetry.vitals import Vitals
from injector.watch.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

SWITCHES = 300
IDLE = 20.0
RESCAN = 5.0


def swap(mount: Path, number: int, files: int) -> None:
    """The next generation of *mount*, in the kubelet's order (atomic_writer.go)."""
    generation = mount / f"..generation_{number}"
    generation.mkdir()
    for file in range(files):
        (generation / f"f{file}").write_text(f"{number}\n")
    (mount / "..data_tmp").symlink_to(generation.name)
    old = mount / os.readlink(mount / "..data") if (mount / "..data").is_symlink() else None
    (mount / "..data_tmp").rename(mount / "..data")
    print(number, time.monotonic(), flush=True)
    for file in range(files):
        with contextlib.suppress(FileExistsError):
            (mount / f"f{file}").symlink_to(f"..data/f{file}")
    if old is not None:
        shutil.rmtree(old)


def swapper(mount: Path, files: int) -> None:
    for number in range(1, SWITCHES + 1):
        time.sleep(0.02)
        swap(mount, number, files)


def watch(paths: list[Path], on_change: Callable[[object], None]) -> Watcher:
    return Watcher(paths, on_change, rescan=RESCAN, log=Log(), meter=Meter(), vitals=Vitals())


async def reactions(mount: Path, files: int) -> list[float]:
    """Seconds from each switch to the first call after it."""
    calls: list[float] = []
    task = asyncio.ensure_future(watch([mount], lambda _: calls.append(time.monotonic())).run())
    command = [sys.executable, "-m", "benchmarks.watching", "swapper", str(mount), str(files)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    switches = [float(line.split()[1]) for line in output.splitlines()]
    return sorted(next(call for call in calls if call >= switch) - switch for switch in switches)


async def idle(paths: list[Path]) -> None:
    """Prints the processor time of *IDLE* seconds, and the open descriptors."""
    task = asyncio.ensure_future(watch(paths, lambda _: None).run()) if paths else None
    await asyncio.sleep(1)
    used = _cpu()
    await asyncio.sleep(IDLE)
    print(_cpu() - used, len(os.listdir("/proc/self/fd")), flush=True)
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _idle_process(paths: list[Path]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.watching", "idle", *map(str, paths)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'switch to callback, ' + str(SWITCHES) + ' switches':40} {'median ms':>10} {'p99 ms':>8} {'worst':>8}")
        for files in (1, 20, 200):
            mount = Path(folder, f"mount{files}")
            mount.mkdir()
            with contextlib.redirect_stdout(None):
                swap(mount, 0, files)
            took = asyncio.run(reactions(mount, files))
            p99 = took[int(len(took) * 0.99) - 1]
            print(
                f"{'mount of ' + str(files) + ' files':40} {statistics.median(took) * 1e3:10.2f} "
                f"{p99 * 1e3:8.2f} {took[-1] * 1e3:8.2f}"
            )
        print(f"\n{'idle, ' + str(IDLE) + ' s':40} {'cpu ms':>10} {'fds':>8}")
        trees = {}
        for files in (0, 100, 1000):
            tree = Path(folder, f"tree{files}")
            for file in range(files):
                path = tree / f"d{file % 10}" / f"f{file}.tmpl"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("x")
            trees[files] = _idle_process([tree] if files else [])
        for files, process in trees.items():
            cpu, descriptors = process.communicate()[0].split()
            name = f"{files} files" if files else "event loop only (floor)"
            print(f"{name:40} {float(cpu) * 1e3:10.1f} {descriptors:>8}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["swapper"]:
        swapper(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["idle"]:
        asyncio.run(idle([Path(path) for path in sys.argv[2:]]))
    else:
        main()
