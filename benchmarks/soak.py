"""
One host process, many calls, many plugins killed: nothing may grow.

`python -m benchmarks.soak [--calls N] [--restarts N] [--plugin FILE]`. The plugin is the Go example, built here unless
given. Between two batches of calls it gets SIGKILL: every other time while it is idle, after which the next call has to
succeed, and else with calls in flight, each of which has to be answered with its value or as lost with the plugin.

Prints what the process holds every tenth of the way, and fails (exit code 1) when at the end it holds more than at the
first tenth, by which time gRPC has started all of its threads: more than `MOST_GROWTH` of memory, `MOST_THREADS`
threads, or any descriptor, child process or file in TMPDIR.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import MIB, go_toolchain
from injector.backends.discovery import Candidate, Kind
from injector.backends.goplugin.host import GoPluginBackend
from injector.backends.goplugin.start import start_plugin
from injector.backends.goplugin.supervision import RestartPolicy
from injector.backends.goplugin.supervisor import SupervisedPlugin
from injector.errors import PluginCrashed
from injector.model.references import Reference, Value
from injector.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parent.parent
IN_FLIGHT = 64
MOST_GROWTH = 3 * MIB
MOST_THREADS = 2  # gRPC's pool breathes
SETTLE_WITHIN = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a process holds: bytes, and counts."""

    memory: int
    descriptors: int
    threads: int
    children: int
    files: int

    @classmethod
    def now(cls, folder: Path) -> Holdings:
        """Those of this process, with the files in *folder*."""
        gc.collect()
        status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
        tasks = list(Path("/proc/self/task").iterdir())
        children = sum(len((task / "children").read_text().split()) for task in tasks if (task / "children").exists())
        return cls(
            memory=int(status["VmRSS"].split()[0]) * 1024,
            descriptors=len(os.listdir("/proc/self/fd")) - 1,  # that of the listing
            threads=len(tasks),
            children=children,
            files=sum(1 for _ in folder.rglob("*")),
        )

    def __str__(self) -> str:
        return f"{self.memory / MIB:8.1f} {self.descriptors:12} {self.threads:8} {self.children:9} {self.files:6}"

    def growth_since(self, earlier: Holdings) -> list[str]:
        """What there is too much of."""
        problems = []
        if self.memory > earlier.memory + MOST_GROWTH:
            problems.append(f"memory grew by {(self.memory - earlier.memory) / MIB:.1f} MiB")
        if self.threads > earlier.threads + MOST_THREADS:
            problems.append(f"threads grew from {earlier.threads} to {self.threads}")
        for name in ("descriptors", "children", "files"):
            before, after = getattr(earlier, name), getattr(self, name)
            if after > before:
                problems.append(f"{name} grew from {before} to {after}")
        return problems


class Wrong(Exception):
    """An answer that must not be."""


class Soak:
    """The run: `calls` and `restarts` count what has been done."""

    def __init__(self, program: Path, environment: Mapping[str, str]) -> None:
        candidate = Candidate("DEMOSTORE", Kind.GOPLUGIN, str(program), (str(program),), "soak")
        log = Log(Level.ERROR)

        async def start() -> GoPluginBackend:
            return await start_plugin(candidate, log=log, start_timeout=30, environment=environment)

        # Every loss counts as the first: what is measured is the restart, not the pause before it.
        self.plugin = SupervisedPlugin(str(candidate), start, policy=RestartPolicy(healthy_after=0.0), log=log)
        self.calls = 0
        self.restarts = 0
        self.lost = 0

    async def call(self, number: int, *, may_be_lost: bool = False) -> None:
        """One call; raises Wrong when its answer is wrong."""
        reference = Reference("DEMOSTORE", f"/app/{number}")
        async for _, outcome in self.plugin.fetch([reference], timeout=30):
            self.calls += 1
            if isinstance(outcome, Value):
                if outcome.data.reveal() != f"demo value of /app/{number}".encode():
                    raise Wrong(f"the answer for {reference} is another's")
            elif may_be_lost and isinstance(outcome, PluginCrashed):
                self.lost += 1
            else:
                raise Wrong(f"call {self.calls} failed: {outcome}")

    async def batch(self, count: int) -> None:
        """*count* calls, IN_FLIGHT at a time."""
        numbers = iter(range(count))

        async def work() -> None:
            for number in numbers:
                await self.call(number)

        await asyncio.gather(*(work() for _ in range(min(IN_FLIGHT, count))))

    async def kill_idle(self) -> None:
        """SIGKILL between two calls, and the end of the process waited for."""
        await self._kill()

    async def kill_busy(self) -> None:
        """SIGKILL with calls in flight."""
        calls = [asyncio.create_task(self.call(number, may_be_lost=True)) for number in range(8)]
        await asyncio.sleep(random.uniform(0, 0.003))  # some are answered before it
        await self._kill()
        await asyncio.gather(*calls)

    async def _kill(self) -> None:
        instance = self.plugin.instance
        assert isinstance(instance, GoPluginBackend)
        os.kill(instance.pid, signal.SIGKILL)
        deadline = time.monotonic() + SETTLE_WITHIN
        while instance.loss is None:  # the kernel tells the event loop, and nobody else
            if time.monotonic() > deadline:
                raise Wrong("a killed plugin is taken for alive")
            await asyncio.sleep(0.001)
        self.restarts += 1

    async def settled(self, folder: Path) -> Holdings:
        """What is held once the last restart is through: with one plugin, and none that is going."""
        await self.batch(IN_FLIGHT)
        deadline = time.monotonic() + SETTLE_WITHIN
        while (held := Holdings.now(folder)).children != 1 and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        return held


async def soak(program: Path, folder: Path, calls: int, restarts: int) -> list[str]:
    """The whole run. What grew too much, in words."""
    run = Soak(program, os.environ | {"TMPDIR": str(folder)})
    print(f"{'':>5} {'calls':>8} {'restarts':>8} {'lost':>5} {'RSS MiB':>9} {'descriptors':>12} "
          f"{'threads':>8} {'children':>9} {'files':>6} {'seconds':>8}")  # fmt: skip
    started = time.monotonic()
    first: Holdings | None = None
    held = Holdings.now(folder)
    try:
        for tenth in range(11):
            while run.restarts < restarts * tenth // 10:
                await (run.kill_busy() if run.restarts % 2 else run.kill_idle())
                await run.batch(max(1, calls // restarts))
            if (left := calls * tenth // 10 - run.calls) > 0:
                await run.batch(left)
            held = await run.settled(folder)
            print(f"{tenth * 10:4}% {run.calls:8} {run.restarts:8} {run.lost:5} {held} "
                  f"{time.monotonic() - started:8.1f}", flush=True)  # fmt: skip
            if tenth == 1:
                first = held
    finally:
        await run.plugin.close()
    after = Holdings.now(folder)
    print(f"after {run.calls:8} {run.restarts:8} {run.lost:5} {after}")
    assert first is not None
    problems = held.growth_since(first)
    if after.children or after.files:
        problems.append(f"{after.children} processes and {after.files} files are left at the end")
    if run.plugin.status().crashes != run.restarts:
        problems.append(f"{run.restarts} kills were counted as {run.plugin.status().crashes} crashes")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--restarts", type=int, default=500)
    parser.add_argument("--plugin", type=Path, help="the Go example's program; built when not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as work:
        program, folder = given.plugin or Path(work, "demostore"), Path(work, "tmp")
        folder.mkdir()
        if given.plugin is None:
            from benchmarks.render import build

            go = go_toolchain(otherwise=", or --plugin FILE")
            build(go, ROOT / "examples" / "plugins" / "go", "./cmd/demostore", program)
        try:
            problems = asyncio.run(soak(program, folder, given.calls, given.restarts))
        except Wrong as error:
            problems = [str(error)]
    for problem in problems:
        print(f"FAILED: {problem}")
    if not problems:
        print(
            f"ok: nothing grew by more than {MOST_GROWTH / MIB:g} MiB and {MOST_THREADS} threads since the first tenth"
        )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
