"""
WASM plugins: what each step costs, calls a second on one thread and two, memory, and what the caches save.

The plugin is the example `cmd/valuestore` in Go. Steps are the minimum and the median of many, CPU of this process
beside them; compiling is measured in processes of its own, since its memory stays with the process. Whole renders,
cold, are interleaved.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.processes import MIB, compiled, go_toolchain, median, run
from benchmarks.render import ROOT
from benchmarks.startup import INJECTOR
from injector.backends.wasm.cache import CompiledModules
from injector.backends.wasm.deadline import Deadline
from injector.backends.wasm.flavour import GuestConfiguration
from injector.backends.wasm.instance import InstanceLimits
from injector.backends.wasm.reactor import ReactorFlavour
from injector.backends.wasm.runtime import Runtime
from injector.model.references import Reference
from injector.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from collections.abc import Callable

SDK = ROOT / "examples" / "plugins" / "wasm-reactor-go"
LOOKUPS = 2000
RUNS = 7
REFERENCE = Reference("DEMO", "/a")
QUIET = Log(Level.OFF)


def flavour(wasm: bytes, cache: Path | None) -> ReactorFlavour:
    runtime = Runtime.shared()
    return ReactorFlavour(
        runtime,
        CompiledModules(runtime, cache, QUIET).get(wasm, "demo"),
        name="demo",
        configuration=GuestConfiguration("demo", settings={"values": {"/a": "value"}}),
        limits=InstanceLimits(),
        log=QUIET,
    )


def memory(field: str) -> int:
    """Bytes of this process: VmRSS now, or VmHWM at its peak (ru_maxrss would begin with that of the parent)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def step(name: str, times: int, action: Callable[[], Any]) -> None:
    """Prints what *action* takes: wall time of single runs, CPU of all of them."""
    walls, cpu = [], time.process_time()
    for _ in range(times):
        began = time.perf_counter()
        action()
        walls.append(time.perf_counter() - began)
    cpu = (time.process_time() - cpu) / times
    print(f"{name:44} {min(walls) * 1e3:9.2f} {statistics.median(walls) * 1e3:9.2f} {cpu * 1e3:9.2f}")


def fresh(made: ReactorFlavour, calls: int = 1) -> None:
    with made.open(Deadline(60)) as guest:
        assert len(list(guest.answers([REFERENCE] * calls))) == calls


def steps(wasm: bytes, cache: Path) -> None:
    made = flavour(wasm, cache)
    (file,) = cache.iterdir()
    print(f"{'ms':44} {'min':>9} {'median':>9} {'cpu':>9}")
    step("load the compiled module", 50, lambda: Runtime.shared().load(str(file)))
    step("bind its imports", 50, lambda: flavour(wasm, cache))
    guests: list[Any] = []
    step("fresh instance, initialised and configured", 200, lambda: guests.append(made.open(Deadline(60))))

    def close() -> None:
        guests.pop().instance.close()

    step("close", 200, close)
    with made.open(Deadline(600)) as guest:
        step("one call", 1000, lambda: list(guest.answers([REFERENCE])))
    step("fresh instance + one call + close", 500, lambda: fresh(made))
    step("fresh instance + four calls + close", 500, lambda: fresh(made, 4))
    before = memory("VmRSS")
    guests = [made.open(Deadline(600)) for _ in range(50)]
    print(f"\nmemory of an open instance {(memory('VmRSS') - before) / len(guests) / MIB:.2f} MiB")
    for guest in guests:
        guest.instance.close()
    for threads in (1, 2):
        with ThreadPoolExecutor(threads) as pool:
            began = time.perf_counter()
            list(pool.map(lambda _: fresh(made), range(LOOKUPS)))
            print(f"{threads} thread(s): {LOOKUPS / (time.perf_counter() - began):6.0f} batches of one call a second")


def compiling(module: Path, cache: str) -> None:
    """In a process of its own: seconds, CPU seconds and MiB of compiling, or of loading when *cache* has it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    flavour(module.read_bytes(), Path(cache) if cache else None)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    print(f"{wall:9.2f} {cpu:9.2f} {memory('VmHWM') / MIB:9.1f}")


def caches(module: Path, cache: Path) -> None:
    print(f"\n{'first use in a process':44} {'s':>9} {'cpu s':>9} {'peak MiB':>9}")
    for name, directory in (("no cache: compiled", ""), ("compiled module on disk", str(cache))):
        command = [sys.executable, "-m", "benchmarks.wasm", "compiling", str(module), directory]
        done = subprocess.run(command, cwd=ROOT, env=compiled(), check=True, capture_output=True, text=True)
        print(f"{name:44} {done.stdout.rstrip()}")


def renders(work: Path) -> None:
    (work / "template").write_text("a=DEMO:///a\n")
    (work / "plain").write_text("a=ENV://HOME\n")
    (work / "settings.yaml").write_text(
        "apiVersion: config-injector.io/v1alpha1\nkind: Injector\n"
        "plugins: {configuration: {demo: {values: {/a: value}}}}\n"
    )
    common = [INJECTOR, "render", "--config", "settings.yaml"]
    env = dict(os.environ) | {"INJECTOR_PLUGIN_WASM_CACHE": str(work / "cache")}
    cases = {"render, no WASM plugin": "plain", "render, WASM plugin, compiled before": "template"}
    runs: dict[str, list[Any]] = {name: [] for name in cases}
    for _ in range(RUNS):
        for name, template in cases.items():
            runs[name].append(run([*common, template], cwd=work, env=env))
    print(f"\n{'whole command':44} {'wall ms':>9} {'cpu ms':>9} {'peak MiB':>9}")
    for name, done in runs.items():
        one = median(done)
        print(f"{name:44} {one.wall * 1e3:9.1f} {one.cpu * 1e3:9.1f} {one.peak / MIB:9.1f}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        module = work / ".configmanager" / "plugins" / "demo" / "demo.wasm"
        module.parent.mkdir(parents=True)
        command = [go_toolchain(), "build", "-buildmode=c-shared", "-o", str(module), "./cmd/valuestore"]
        subprocess.run(command, cwd=SDK, check=True, env=os.environ | {"GOOS": "wasip1", "GOARCH": "wasm"})
        cache = work / "cache"
        flavour(module.read_bytes(), cache)
        print(
            f"module {module.stat().st_size / MIB:.1f} MiB, compiled {next(cache.iterdir()).stat().st_size / MIB:.1f}"
        )
        steps(module.read_bytes(), cache)
        caches(module, cache)
        renders(work)


if __name__ == "__main__":
    if sys.argv[1:2] == ["compiling"]:
        compiling(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
