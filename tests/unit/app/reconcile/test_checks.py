"""Check commands: they keep no other file waiting, and each file's contents come in their order."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import psutil
import pytest
from msgspec.structs import replace
from waiting import PATIENCE, until

from injector.app.reconcile.checks import Checks
from injector.app.status import FileState
from injector.model.policy import Check, WriteMode
from injector.settings.schema import FileOverride

if TYPE_CHECKING:
    from pathlib import Path

    from sidecar_bench import Bench, Store


class Gate:
    """A check command that writes down what it was shown, and ends when it may; `bad` is refused."""

    def __init__(self, folder: Path) -> None:
        self._seen, self._open, self.pid = folder / "seen", folder / "open", folder / "pid"
        script = f'cat "$1" >> {self._seen}; echo $$ > {self.pid}; while [ ! -e {self._open} ]; do sleep 0.05; done'
        self.command = ("/bin/sh", "-c", f'{script}; ! grep -q bad "$1"', "sh", "{file}")

    def seen(self) -> str:
        return self._seen.read_text() if self._seen.exists() else ""

    def open(self) -> None:
        self._open.touch()


@pytest.fixture
def gate(tmp_path: Path, bench: Bench) -> Gate:
    gate = Gate(tmp_path)
    slow = FileOverride(match="slow*", check=Check(command=gate.command), check_timeout=600.0)
    bench.settings = replace(bench.settings, files=(slow,), prune=True)
    return gate


async def begin(bench: Bench) -> None:
    """Runs the sidecar, which does not get quiet while a check runs."""
    checks = Checks(dict(os.environ), bench.log.redactor)
    with pytest.raises(TimeoutError):
        await bench.start(patience=0.3, checks=checks)
    bench.patience = PATIENCE


def content(bench: Bench, name: str) -> str | None:
    return bench.read(name) if (bench.out / name).exists() else None


async def test_the_slow_check_of_one_file_keeps_no_other_waiting(
    bench: Bench, stores: dict[str, Store], gate: Gate
) -> None:
    stores["AAA"].values["/x"] = "1"
    bench.write("slow", "AAA:///x")
    bench.write("plain", "AAA:///x")
    await begin(bench)
    await until(lambda: gate.seen() == "1" and content(bench, "plain") == "1")
    bench.write("later", "AAA:///x too")
    bench.sidecar.look()
    await until(lambda: content(bench, "later") == "1 too")
    assert bench.file("slow").state is FileState.PENDING
    assert content(bench, "slow") is None
    assert bench.vitals.overdue() == ()
    gate.open()
    await until(lambda: content(bench, "slow") == "1")
    await until(lambda: bench.file("slow").state is FileState.READY)


async def test_a_value_that_comes_during_the_check_is_checked_and_published_after_it(
    bench: Bench, stores: dict[str, Store], gate: Gate
) -> None:
    stores["AAA"].values["/x"] = "1"
    bench.write("slow", "AAA:///x")
    await begin(bench)
    await until(lambda: gate.seen() == "1")
    stores["AAA"].values["/x"] = "2"
    refreshed = asyncio.create_task(bench.sidecar.refreshed("refresh"))
    await until(lambda: len(stores["AAA"].calls) == 2)
    assert gate.seen() == "1"
    gate.open()
    await refreshed
    assert gate.seen() == "12"
    assert bench.read("slow") == "2"
    assert bench.sink.published["slow"] == 2


async def test_a_set_is_published_after_its_checks_or_not_at_all(
    bench: Bench, stores: dict[str, Store], gate: Gate
) -> None:
    bench.settings = replace(bench.settings, write=WriteMode.SET)
    stores["AAA"].values["/x"] = "1"
    bench.write("slow", "AAA:///x")
    bench.write("other", "AAA:///x")
    await begin(bench)
    await until(lambda: gate.seen() == "1")
    assert content(bench, "other") is None
    gate.open()
    await until(lambda: content(bench, "slow") == content(bench, "other") == "1")
    stores["AAA"].values["/x"] = "bad"
    await bench.sidecar.refreshed("refresh")
    assert (bench.read("slow"), bench.read("other")) == ("1", "1")
    assert {error.code for error in bench.sidecar.errors()} == {"check-failed"}


async def test_the_output_of_a_template_that_goes_during_its_check_does_not_come(
    bench: Bench, stores: dict[str, Store], gate: Gate
) -> None:
    stores["AAA"].values["/x"] = "1"
    bench.write("slow", "AAA:///x")
    await begin(bench)
    await until(lambda: gate.seen() == "1")
    (bench.templates / "slow").unlink()

    def is_forgotten() -> bool:
        bench.sidecar.look()
        bench.clock.time += 1.0
        return not bench.sidecar.status().files

    await until(is_forgotten)
    gate.open()
    await bench.quiet()
    assert content(bench, "slow") is None


async def test_the_end_of_the_sidecar_is_that_of_a_check(bench: Bench, stores: dict[str, Store], gate: Gate) -> None:
    stores["AAA"].values["/x"] = "1"
    bench.write("slow", "AAA:///x")
    await begin(bench)
    await until(lambda: gate.pid.exists() and gate.pid.read_text())
    await bench.stop()
    await until(lambda: not psutil.pid_exists(int(gate.pid.read_text())))
    assert content(bench, "slow") is None
