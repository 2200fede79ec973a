"""Much of everything: work grows with it, and not faster."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from injector.app.reconcile.sinks import MemorySink

if TYPE_CHECKING:
    from sidecar_bench import Bench, Store


@pytest.mark.fault(46, "10,000 templates are rendered with one value in one call")
@pytest.mark.timeout(600)
async def test_ten_thousand_templates(bench: Bench, stores: dict[str, Store]) -> None:
    stores["AAA"].values["/x"] = "1"
    for number in range(10_000):
        (bench.templates / f"f{number}").write_text(f"{number} AAA:///x\n")
    sink = bench.sink = MemorySink()  # the disk's part is measured with `output`
    await bench.start(patience=500.0)
    assert len(sink.results) == 10_000
    assert sink.results[bench.out / "f9999"].reveal() == b"9999 1\n"
    assert stores["AAA"].calls == [["/x"]]
    stores["AAA"].values["/x"] = "2"
    await bench.sidecar.refreshed("refresh")
    assert {data.reveal()[-3:] for data in sink.results.values()} == {b" 2\n"}
    assert len(stores["AAA"].calls) == 2


@pytest.mark.fault(46, "100,000 different tokens in one template cost ceil(n / batch) calls for each refresh")
@pytest.mark.timeout(600)
async def test_a_hundred_thousand_tokens_in_one_template(bench: Bench, stores: dict[str, Store]) -> None:
    count = 100_000
    stores["AAA"].values |= {f"/{number}": str(number) for number in range(count)}
    bench.write("f", "\n".join(f"AAA:///{number}" for number in range(count)))
    await bench.start(patience=500.0)
    assert bench.read("f") == "\n".join(map(str, range(count)))
    assert len(stores["AAA"].calls) == count / 10
    stores["AAA"].values["/77"] = "changed"
    await bench.sidecar.refreshed("refresh")
    assert len(stores["AAA"].calls) == 2 * count / 10
    assert bench.read("f").split("\n")[77] == "changed"


@pytest.mark.timeout(300)
async def test_refreshes_hold_on_to_nothing(bench: Bench, stores: dict[str, Store]) -> None:
    stores["AAA"].values |= {"/x": "old" * 100_000, "/y": "old"}
    for number in range(20):
        bench.write(f"f{number}", "AAA:///x AAA:///y")
    await bench.start()

    async def turn(number: int) -> None:
        stores["AAA"].values["/x"] = f"{number:06}" * 50_000
        await bench.sidecar.refreshed("refresh")
        stores["AAA"].calls.clear()
        bench.published.clear()

    for number in range(5):
        await turn(number)
    tracemalloc.start()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(5, 30):
        await turn(number)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 2_000_000  # a value is 300,000 bytes, a rendered file as much: nothing of 25 passes has stayed


# A process of its own: what other tests have left in this one would hide what is looked for.
REFRESHES = """
import asyncio, sys
from pathlib import Path
from sidecar_bench import Bench, Store
from injector.app.reconcile.clock import Clock
from injector.telemetry.vitals import Vitals

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

async def main():
    store = Store()
    bench = Bench(Path(sys.argv[1]), {"AAA": store, "BBB": Store()})
    bench.vitals = Vitals()
    bench.write("f", "AAA:///x")
    store.values["/x"] = "first"
    sidecar = await bench.start(clock=Clock())
    for number in range(60):
        store.values["/x"] = f"{number:08}" * 125_000
        assert (await sidecar.refreshed("refresh")).changed == 1
        await bench.quiet()
        if number >= 10:
            print(resident())
    await bench.stop()

asyncio.run(main())
"""


@pytest.mark.fault(72, "dozens of refreshes with another value of 1 MB each leave the sidecar as large as it was")
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_refreshes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REFRESHES, tmp_path],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    sizes = [int(line) for line in done.stdout.split()]
    assert min(sizes[-10:]) - min(sizes[:10]) < 8 * 1024 * 1024  # 40 values of 1 MB went between them
