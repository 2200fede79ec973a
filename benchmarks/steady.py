"""
`python -m benchmarks.steady [--refreshes 100000]`: a sidecar that refreshes again and again in one process.

100 files, values from FILE://, one of which changes every tenth time. Memory, descriptors, threads and zombies are
sampled; the end is 1 when any of them has grown since the first tenth by more than is allowed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from msgspec import Struct

from benchmarks.processes import MIB
from injector.app.build import registry
from injector.app.reconcile.engine import Sidecar
from injector.app.reconcile.request import SidecarRequest
from injector.app.reconcile.sinks import FileSink
from injector.settings.schema import Settings
from injector.telemetry.logs import Level, Log
from injector.telemetry.meter import Meter
from injector.telemetry.vitals import Vitals

FILES = 100
MOST_GROWTH = 8 * MIB
MOST_MORE = 4  # descriptors and threads


class Sample(Struct, frozen=True):
    """What the process holds: bytes of resident memory, and how many of each."""

    memory: int
    descriptors: int
    threads: int
    zombies: int

    @classmethod
    def take(cls) -> Sample:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        zombies = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            zombies += fields[0] == "Z" and int(fields[1]) == os.getpid()
        return cls(
            pages * os.sysconf("SC_PAGE_SIZE"),
            len(os.listdir("/proc/self/fd")),
            len(os.listdir("/proc/self/task")),
            zombies,
        )

    def __str__(self) -> str:
        return (
            f"{self.memory / MIB:7.1f} MiB {self.descriptors:4} descriptors {self.threads:3} threads "
            f"{self.zombies:2} zombies"
        )


async def steady(work: Path, refreshes: int, files: int) -> list[str]:
    """Refreshes so often, and says what grew."""
    templates = work / "templates"
    templates.mkdir()
    value = work / "value"
    value.write_text("0")
    for number in range(files):
        (templates / f"file-{number:03}.conf").write_text(f"number={number}\nvalue=FILE://{value}\nhome=ENV://HOME\n")
    settings = Settings(refresh=None)
    log = Log(Level.ERROR)
    backends = registry(settings, os.environ, log, lasting=True)
    sidecar = Sidecar(
        SidecarRequest((str(templates),), output_dir=work / "out"),
        settings,
        backends,
        environment=os.environ,
        log=log,
        meter=Meter(),
        vitals=Vitals(),
        sink=FileSink(),
    )
    running = asyncio.create_task(sidecar.run())
    try:
        await asyncio.wrap_future(sidecar.first_pass)
        return await _refresh(sidecar, value, refreshes, files)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await backends.close()


async def _refresh(sidecar: Sidecar, value: Path, refreshes: int, files: int) -> list[str]:
    began, first = time.monotonic(), Sample.take()
    for number in range(1, refreshes + 1):
        if number % 10 == 0:
            new = value.with_name("value.new")
            new.write_text(str(number))
            new.rename(value)
        summary = await sidecar.refreshed("refresh")
        if summary.errors or summary.files != files or summary.changed not in (0, files):
            return [f"refresh {number}: {summary.changed} of {summary.files} changed, {len(summary.errors)} errors"]
        if number == max(1, refreshes // 10):
            first = Sample.take()
        if number % max(1, refreshes // 10) == 0:
            rate = number / (time.monotonic() - began)
            print(f"{number:8} refreshes, {rate:6.0f} a second: {Sample.take()}", flush=True)
    last = Sample.take()
    grown = [("memory", last.memory - first.memory, MOST_GROWTH), ("zombies", last.zombies, 0)]
    grown += [("descriptors", last.descriptors - first.descriptors, MOST_MORE)]
    grown += [("threads", last.threads - first.threads, MOST_MORE)]
    return [f"{what} grew by {by}, {most} are allowed" for what, by, most in grown if by > most]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refreshes", type=int, default=1_000)
    parser.add_argument("--files", type=int, default=FILES)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="steady-") as work:
        problems = asyncio.run(steady(Path(work), given.refreshes, given.files))
    for problem in problems:
        print(f"FAILED: {problem}")
    if not problems:
        print("ok: nothing grew since the first tenth")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
