"""What freezes is named, what ends ends at once, and no clock but the monotonic one matters."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from sidecar_bench import value as bench_value
from waiting import PATIENCE, until

from injector.app.reconcile.clock import Clock
from injector.app.reconcile.timers import Timers
from injector.app.reconcile.worker import Worker
from injector.app.serving.health import StatusServer
from injector.app.status import FileState
from injector.errors import InputError
from injector.telemetry.metrics import PrometheusMeter
from injector.telemetry.redaction import Redactor
from injector.telemetry.vitals import Vitals
from injector.watch.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sidecar_bench import Bench, Store

    from injector.backends.contract import Answer
    from injector.model.references import Reference


def late(vitals: Vitals) -> list[str]:
    return [overdue.worker for overdue in vitals.overdue()]


async def test_an_idle_sidecar_waits_for_its_timers_only(bench: Bench, stores: dict[str, Store]) -> None:
    bench.settings = replace(bench.settings, rescan=30.0)
    stores["AAA"].values["/x"] = "1"
    bench.write("f", "AAA:///x")
    sidecar = await bench.start()
    wakes = 0
    for _ in range(40):
        following = sidecar.next_wake
        assert following is not None
        await bench.move(following - bench.clock.time)
        wakes += 1
    assert bench.clock.time - 1000.0 >= 30 * (wakes - 10)
    assert late(bench.vitals) == []


async def test_an_engine_that_makes_no_pass_is_named(bench: Bench, stores: dict[str, Store]) -> None:
    """A backend blocks the loop's own thread: the status server, which has another one, says so while it lasts."""
    bench.settings = replace(bench.settings, rescan=1.0)
    bench.vitals = Vitals()
    stores["AAA"].values["/x"] = "1"
    bench.write("f", "AAA:///x")
    sidecar = await bench.start(clock=Clock())
    server = StatusServer("127.0.0.1:0", status=sidecar.status, vitals=bench.vitals, meter=PrometheusMeter())
    address = server.start()
    healthy, _ = await asyncio.to_thread(get, f"http://{address}/livez")
    entered, released = threading.Event(), threading.Event()
    blocked: list[tuple[int, str]] = []

    async def fetch(references: Sequence[Reference], *, timeout: float) -> AsyncIterator[Answer]:
        entered.set()
        released.wait(PATIENCE)  # the fault: no `await`
        for reference in references:
            yield reference, bench_value("2")

    def probe() -> None:
        entered.wait(PATIENCE)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and not any("engine" in text for _, text in blocked):
            blocked.append(get(f"http://{address}/livez"))
            time.sleep(0.02)
        released.set()

    thread = threading.Thread(target=probe)
    thread.start()
    stores["AAA"].fetch = fetch  # type: ignore[method-assign]
    await sidecar.refreshed("refresh")
    thread.join()
    status, text = blocked[-1]
    assert (healthy, status) == (200, 503)
    assert "engine: nothing completed for" in text
    assert bench.read("f") == "2"
    await until(lambda: late(bench.vitals) == [])
    await asyncio.to_thread(server.close)


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return int(answer.status), str(answer.read(), "utf-8")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, str(error.read(), "utf-8")


async def test_a_backend_that_cannot_be_ended_is_named_and_does_not_hold_up_the_end(
    bench: Bench, stores: dict[str, Store]
) -> None:
    bench.settings = replace(bench.settings, timeout=0.2)
    gate = asyncio.Event()

    async def fetch(references: Sequence[Reference], *, timeout: float) -> AsyncIterator[Answer]:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue  # the fault: it swallows its cancellation
        return
        yield

    stores["AAA"].fetch = fetch  # type: ignore[method-assign]
    stores["BBB"].values["/y"] = "1"
    bench.write("f", "AAA:///x")
    bench.write("g", "BBB:///y")
    with pytest.raises(TimeoutError):
        await bench.start(patience=1.0)
    await until(lambda: bench.read("g") == "1")
    assert late(bench.vitals) == []
    bench.clock.time += 6.0
    assert late(bench.vitals) == ["fetch AAA"]
    began = time.monotonic()
    await bench.stop()
    assert time.monotonic() - began < PATIENCE
    gate.set()
    await asyncio.sleep(0)


async def test_a_backend_that_never_answers_is_an_error_at_the_deadline(bench: Bench, stores: dict[str, Store]) -> None:
    bench.settings = replace(bench.settings, timeout=0.2)
    stores["AAA"].gate = asyncio.Event()
    bench.write("f", "AAA:///x")
    await bench.start()
    assert bench.file("f").state is FileState.FAILED
    assert {error.code for error in bench.sidecar.errors()} == {"deadline-exceeded"}
    assert late(bench.vitals) == []


async def test_templates_that_cannot_be_read_for_a_hanging_disk_are_named(bench: Bench, monkeypatch) -> None:
    bench.settings = replace(bench.settings, timeout=5.0)
    bench.write("f", "1")
    sidecar = await bench.start()
    gate = threading.Event()
    monkeypatch.setattr(sidecar._looking._templates, "look", lambda _: gate.wait(PATIENCE))
    sidecar.look()
    await until(lambda: sidecar._looking.is_under_way)
    bench.clock.time += 6.0
    assert late(bench.vitals) == ["templates"]
    await bench.stop()
    gate.set()


async def test_a_watcher_that_stands_still_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stand(_: Watcher) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Watcher, "_turn", stand)
    bench.settings = replace(bench.settings, rescan=5.0)
    bench.write("f", "1")
    await bench.start(watch=True)
    await bench.move(25.0)
    assert late(bench.vitals) == ["watch"]


async def test_a_look_that_fails_is_tried_again_and_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.write("f", "1")
    sidecar = await bench.start()
    real = sidecar._looking._templates.look

    def fail(_: object) -> None:
        raise InputError("replaced again and again")

    monkeypatch.setattr(sidecar._looking._templates, "look", fail)
    await bench.look()
    assert [error.message for error in sidecar.errors()] == ["replaced again and again"]
    assert bench.file("f").state is FileState.READY
    monkeypatch.setattr(sidecar._looking._templates, "look", real)
    bench.write("f", "2")
    await bench.move(5)
    assert bench.read("f") == "2"
    assert sidecar.errors() == ()


async def test_a_fault_in_one_backend_costs_its_own_files(bench: Bench, stores: dict[str, Store]) -> None:
    async def fetch(references: Sequence[Reference], *, timeout: float) -> AsyncIterator[Answer]:
        raise ValueError("hunter2")
        yield

    stores["AAA"].fetch = fetch  # type: ignore[method-assign]
    stores["BBB"].values["/y"] = "1"
    bench.write("f", "AAA:///x")
    bench.write("g", "BBB:///y")
    sidecar = await bench.start()
    assert bench.read("g") == "1"
    (error,) = sidecar.errors()
    assert "ValueError" in error.message
    assert "hunter2" not in error.message + bench.lines.getvalue()


async def test_a_refresh_may_be_asked_for_by_any_thread_and_before_the_start(bench: Bench, stores) -> None:
    stores["AAA"].values["/x"] = "1"
    bench.write("f", "AAA:///x")
    sidecar = await bench.start()
    stores["AAA"].values["/x"] = "2"
    summary = await asyncio.to_thread(lambda: sidecar.refresh("signal").result(PATIENCE))
    assert summary.changed == 1
    assert bench.read("f") == "2"
    statuses = await asyncio.to_thread(sidecar.status)
    assert statuses.is_ready
    waiting = sidecar.refresh("signal")
    await bench.stop()
    assert waiting.cancelled() or waiting.done()


@pytest.mark.fault(48, "the calendar's clock jumps by 400 days and back: nothing is asked for, nothing is put off")
async def test_jumps_of_the_calendar_do_not_matter(bench: Bench, stores: dict[str, Store]) -> None:
    stores["AAA"].values["/x"] = "1"
    bench.write("f", "AAA:///x")
    sidecar = await bench.start()
    due = sidecar.next_wake
    for days in (400, -800, 400):
        bench.clock.shift += days * 86_400
        await bench.look()
        assert sidecar.next_wake == due
        assert sidecar.status().next_refresh is not None
    assert stores["AAA"].asked() == {"/x": 1}
    stores["AAA"].values["/x"] = "2"
    await bench.move(301)
    assert bench.read("f") == "2"


@pytest.mark.fault(48, "the whole machine's clock stands a year off: values are asked for at their intervals")
@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
def test_a_process_with_another_time(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, time\n"
        "from injector.app.reconcile.clock import Clock\n"
        "async def main():\n"
        "    clock, event = Clock(), asyncio.Event()\n"
        "    await clock.wait(event, clock.now() + 0.2)\n"
        "    print(time.gmtime().tm_year)\n"
        "asyncio.run(main())\n"
    )
    command = ["faketime", "-f", "+400d", sys.executable, str(program)]
    environment = os.environ | {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment, check=True)
    assert int(done.stdout) > time.gmtime().tm_year


def test_timers_come_in_order_and_each_name_once() -> None:
    timers = Timers()
    timers.set("b", 2.0)
    timers.set("a", 1.0)
    timers.set("b", 3.0)
    timers.sooner("c", 5.0)
    timers.sooner("c", 9.0)
    timers.set("never", float("inf"))
    assert timers.next() == 1.0
    assert timers.due(4.0) == ["a", "b"]
    assert timers.next() == 5.0
    timers.cancel("c")
    assert timers.next() is None
    assert timers.due(100.0) == []


async def test_a_worker_gives_back_what_its_function_raises() -> None:
    worker = Worker("work", Vitals(), within=1.0)
    with pytest.raises(ZeroDivisionError):
        await worker.call(lambda: 1 // 0)
    assert await worker.call(lambda: 7) == 7
    await worker.close(grace=1.0)


def test_memory_of_the_redactor_does_not_grow_with_retained_generations() -> None:
    redactor = Redactor()
    for number in range(50):
        redactor.add(f"secret-{number:03}".encode())
        redactor.retain([f"secret-{number:03}".encode()])
    assert redactor.clean("secret-049 secret-001") == "*** secret-001"
