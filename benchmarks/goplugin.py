"""
Our host beside a Go host, with the same two plugins, plain and over AutoMTLS.

`first` is from the spawn of the plugin to its first answer, `seq` calls one after the other, `64` with 64 in flight.
Memory is the peak of the host's process and of the plugin's; the Go host keeps every answer until its end, so its
memory is given for the same calls only. Each figure is the median of interleaved runs. What a host pays before it
can start a plugin (imports, Go's runtime) is in `injector render`'s table, not here.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.processes import MIB, compiled, go_toolchain
from benchmarks.render import ROOT, build

RUNS = 5
SEQUENTIAL = 1000
CONCURRENT = 4000
KINDS = {"plain": ("off", False), "AutoMTLS": ("require", False), "both": ("require", True)}
PYTHON_PLUGIN = """
from injector.sdk.serving import serve
from injector.sdk.store import LookupStore

class Store(LookupStore):
    def look_up(self, reference):
        return f"demo value of {reference.path}"

serve(Store(), name="bench")
"""


def peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


async def drive(program: str, auto_mtls: str, multiplex: str) -> None:
    """One run of our host, in a process of its own; prints its figures as JSON."""
    from injector.backends.discovery import Candidate, Kind
    from injector.backends.goplugin import transport
    from injector.backends.goplugin.start import start_plugin
    from injector.backends.goplugin.wiring import Wiring
    from injector.model.policy import AutoMtls
    from injector.model.references import Reference
    from injector.telemetry.logs import Level, Log
    from injector.wire.certificates import self_signed

    transport.preload()
    if auto_mtls != "off":
        self_signed()
    candidate = Candidate("BENCH", Kind.GOPLUGIN, program, (program,), "benchmark")
    wiring = Wiring(auto_mtls=AutoMtls(auto_mtls), multiplex=multiplex == "True")
    begun = time.perf_counter()
    backend = await start_plugin(candidate, log=Log(Level.OFF), start_timeout=30, wiring=wiring)

    async def ask(number: int) -> None:
        async for _, outcome in backend.fetch([Reference("BENCH", f"/n/{number}")], timeout=30):
            if outcome.data.reveal() != f"demo value of /n/{number}".encode():
                raise SystemExit("a wrong answer")

    await ask(0)
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    for number in range(SEQUENTIAL):
        await ask(number)
    sequential = SEQUENTIAL / (time.perf_counter() - begun)

    async def worker(start: int) -> None:
        for number in range(start, CONCURRENT, 64):
            await ask(number)

    begun = time.perf_counter()
    await asyncio.gather(*(worker(start) for start in range(64)))
    concurrent = CONCURRENT / (time.perf_counter() - begun)
    figures = [first * 1e3, sequential, concurrent, peak(os.getpid()) / MIB, peak(backend.pid) / MIB]
    await backend.close()
    print(json.dumps(figures))


def ours(program: Path, kind: str) -> list[float]:
    auto_mtls, multiplex = KINDS[kind]
    command = [sys.executable, "-m", "benchmarks.goplugin", str(program), auto_mtls, str(multiplex)]
    done = subprocess.run(command, cwd=ROOT, env=compiled(), check=True, capture_output=True, text=True)
    return list(json.loads(done.stdout))


def theirs(host: Path, program: Path, kind: str) -> list[float]:
    auto_mtls, multiplex = KINDS[kind]
    flags = ["-mtls"] * (auto_mtls == "require") + ["-multiplex"] * multiplex + ["-token", "/n/{i}"]

    def run(calls: int, concurrency: int) -> tuple[dict, int, int]:
        command = [host, *flags, "-hold", "-n", str(calls), "-c", str(concurrency), program]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            report = json.loads(process.stdout.readline())
            memory = peak(process.pid), peak(report["pid"])
            process.kill()
        end_of(report["pid"])
        if report["error"]:
            raise SystemExit(report["error"])
        return report, *memory

    sequential, _, _ = run(SEQUENTIAL + 1, 1)
    concurrent, host_memory, plugin_memory = run(CONCURRENT + 1, 64)
    return [
        sequential["first_ms"],
        SEQUENTIAL / sequential["seconds"],
        CONCURRENT / concurrent["seconds"],
        host_memory / MIB,
        plugin_memory / MIB,
    ]


def end_of(pid: int) -> None:
    """A killed Go host leaves its plugin behind."""
    try:
        os.kill(pid, 15)
    except ProcessLookupError:
        return


def main() -> None:
    go = go_toolchain()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        build(go, ROOT / "examples" / "plugins" / "go", "./cmd/demostore", work / "demostore")
        build(go, ROOT / "tests" / "integration" / "gohost", ".", work / "gohost")
        python = work / "python"
        python.write_text(f"#!{sys.executable}\n{PYTHON_PLUGIN}")
        python.chmod(0o755)
        print(
            f"{'plugin':8} {'kind':9} {'host':5} {'first ms':>9} {'seq/s':>8} {'64/s':>8} {'host MiB':>9} "
            f"{'plugin MiB':>11}   (median of {RUNS})"
        )
        for name, program in {"Go": work / "demostore", "Python": python}.items():
            for kind in KINDS:
                runs = {"our": [], "Go": []}
                for _ in range(RUNS):
                    runs["our"].append(ours(program, kind))
                    runs["Go"].append(theirs(work / "gohost", program, kind))
                for host, figures in runs.items():
                    first, sequential, concurrent, host_memory, plugin_memory = map(
                        statistics.median, zip(*figures, strict=True)
                    )
                    print(
                        f"{name:8} {kind:9} {host:5} {first:9.1f} {sequential:8.0f} {concurrent:8.0f} "
                        f"{host_memory:9.1f} {plugin_memory:11.1f}",
                        flush=True,
                    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(drive(*sys.argv[1:4]))
    else:
        main()
