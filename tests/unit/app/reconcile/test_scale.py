"""Much of everything: work grows with it, and not faster."""

from __future__ import annotations

import gc
import tracemalloc
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
