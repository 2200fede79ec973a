"""
`python -m benchmarks.sidecar [--swaps N] [--idle SECONDS]`: the sidecar as a process of its own.

- From the swap of a mounted ConfigMap (`..data`) to the published file, with the values cached: one of N files
  changes, and all of them do.
- What an idle sidecar with 100 files costs: CPU time and memory over some time.
- `injector init`, from its start to its end with one file written.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from inotify_simple import INotify, flags

from benchmarks.processes import MIB, compiled, median, run

if TYPE_CHECKING:
    from collections.abc import Iterator

INJECTOR = Path(sys.executable).with_name("injector")
COUNTS = (1, 100, 1_000)
PATIENCE = 120.0


class Mount:
    """A ConfigMap's mount with *count* files; `swap` makes a new generation."""

    def __init__(self, path: Path, count: int, value: Path) -> None:
        self.path, self.count, self.value = path, count, value
        self._generation = 0
        path.mkdir()
        self._texts = [f"number={number}\nvalue=FILE://{value}\nversion=0\n" for number in range(count)]
        self.swap(())
        for number in range(count):
            (path / self.name(number)).symlink_to(f"..data/{self.name(number)}")

    def name(self, number: int) -> str:
        return f"file-{number:04}.conf"

    def swap(self, changed: range | tuple[int, ...]) -> float:
        """Other contents for the files *changed*; the moment (monotonic) of the switch."""
        self._generation += 1
        old = self.path / "..data"
        before = old.resolve() if old.is_symlink() else None
        for number in changed:
            text = self._texts[number]
            self._texts[number] = f"{text[: text.index('version=')]}version={self._generation}\n"
        generation = self.path / f"..{self._generation:06}"
        generation.mkdir()
        for number, text in enumerate(self._texts):
            (generation / self.name(number)).write_text(text)
        link = self.path / "..data_tmp"
        link.symlink_to(generation.name)
        switched = time.monotonic()
        link.rename(old)
        if before is not None:
            for path in before.iterdir():
                path.unlink()
            before.rmdir()
        return switched


@contextmanager
def sidecar(work: Path, count: int) -> Iterator[tuple[Mount, Path, subprocess.Popen[bytes]]]:
    """A running sidecar whose first pass is over: its mount, its output directory, its process."""
    value = work / "value"
    value.write_text("secret")
    mount, out = Mount(work / "templates", count, value), work / "out"
    command = [INJECTOR, "run", mount.path, "--output-dir", out, "--refresh", "off", "-q"]
    process = subprocess.Popen([str(part) for part in command], env=compiled())
    try:
        deadline = time.monotonic() + PATIENCE
        while not out.exists() or sum(1 for path in out.iterdir() if path.name.startswith("file-")) < count:
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit("the sidecar did not render its files")
            time.sleep(0.05)
        time.sleep(2)
        yield mount, out, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def seconds_until_published(mount: Mount, out: Path, changed: range | tuple[int, ...]) -> float:
    """From a swap to the moment at which the last of the changed files has its name."""
    with INotify() as watch:
        watch.add_watch(out, flags.MOVED_TO)
        switched = mount.swap(changed)
        left = {mount.name(number) for number in changed}
        while left:
            events = watch.read(timeout=int(PATIENCE * 1000))
            if not events:
                raise SystemExit(f"{len(left)} files were not published in {PATIENCE:g} s")
            left -= {event.name for event in events}
        return time.monotonic() - switched


def swaps(times: int) -> None:
    print(f"{'from a ..data swap to the published file':44} {'p50 ms':>8} {'p99 ms':>8}   (of {times} swaps)")
    for count in COUNTS:
        for what in ("one changes", "all change")[: 1 if count == 1 else 2]:
            with tempfile.TemporaryDirectory(prefix="sidecar-") as work, sidecar(Path(work), count) as (mount, out, _):
                taken = []
                for number in range(times):
                    changed = range(count) if what == "all change" else (number % count,)
                    taken.append(seconds_until_published(mount, out, changed) * 1e3)
                    time.sleep(0.25)
            line = f"{count} file{'s' if count > 1 else ''}, {what}"
            worst = statistics.quantiles(taken, n=100, method="inclusive")[-1]
            print(f"  {line:42} {statistics.median(taken):8.1f} {worst:8.1f}", flush=True)


def idle(seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="sidecar-") as work, sidecar(Path(work), 100) as (_, _, process):
        before, began = cpu(process.pid), time.monotonic()
        time.sleep(seconds)
        used, took = cpu(process.pid) - before, time.monotonic() - began
        memory = {
            line.split(":")[0]: int(line.split()[1]) * 1024
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
            if line.startswith(("VmRSS", "VmHWM"))
        }
    print(
        f"idle with 100 files for {took:.0f} s: {used / took * 1e3:.2f} ms of CPU a second, "
        f"{memory['VmRSS'] / MIB:.1f} MiB resident ({memory['VmHWM'] / MIB:.1f} MiB at most)"
    )


def cpu(pid: int) -> float:
    """Seconds of CPU time that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(times: int = 11) -> None:
    with tempfile.TemporaryDirectory(prefix="sidecar-") as work:
        template = Path(work, "template")
        template.write_text("home=ENV://HOME\n")
        command = [INJECTOR, "init", template, "-o", Path(work, "out"), "-q"]
        one = median([run(command) for _ in range(times)])
    print(
        f"injector init of one file, start to end: {one.wall * 1e3:.0f} ms, {one.cpu * 1e3:.0f} ms of CPU, "
        f"{one.peak / MIB:.1f} MiB (median of {times})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--idle", type=float, default=20.0)
    given = parser.parse_args()
    start()
    swaps(given.swaps)
    idle(given.idle)


if __name__ == "__main__":
    main()
