"""When an application is told: grouping, retries, supersession. The actions are real commands that leave a trace."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path

import pytest

from injector.errors import NotifyFailed
from injector.notify.carry_out import Changes
from injector.notify.worker import Timing, Worker
from injector.settings.actions import ExecAction, numbered
from injector.telemetry.logs import Level, Log
from injector.telemetry.meter import Meter
from injector.telemetry.vitals import Vitals


def shell(script: str, **more: object) -> ExecAction:
    return ExecAction(command=("/bin/sh", "-c", script), **more)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def test_a_storm_of_changes_is_told_once(running, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    run = running(shell(f"echo told >> {trace}"), debounce_min=0.3)
    for number in range(10_000):
        run.notifier.changed(f"{number % 7}.conf", f"/out/{number % 7}.conf", str(number))
    await run.until_told()
    assert lines(trace) == ["told"]
    assert run.meter.counts == {("exec", "ok"): 1}
    assert run.status.last_at is not None


async def test_changes_before_the_start_are_told(running, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    run = running(shell(f"echo told >> {trace}"))
    run.notifier.changed("a", "/out/a", "1")  # `run` has not had its first turn
    await run.until_told()
    assert lines(trace) == ["told"]


async def test_changes_that_never_settle_are_told_after_the_longest_wait(running, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    run = running(shell(f"echo told >> {trace}"), debounce_min=3600.0, debounce_max=0.3)

    def still_changing() -> bool:
        run.notifier.changed("a", "/out/a", "1")
        return bool(lines(trace))

    await run.until(still_changing)


async def test_nothing_is_told_before_changes_settle_and_the_splay_is_over(running, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    unsettled = running(shell(f"echo told >> {trace}"), debounce_min=3600.0, debounce_max=3600.0)
    splayed = running(shell(f"echo told >> {trace}"), splay=1e9)
    for run in (unsettled, splayed):
        run.notifier.changed("a", "/out/a", "1")
    await asyncio.sleep(0.5)
    assert lines(trace) == []
    assert unsettled.status.waiting
    assert splayed.status.waiting


async def test_changes_during_a_run_make_exactly_one_further_run(running, tmp_path: Path) -> None:
    trace, gate = tmp_path / "trace", tmp_path / "gate"
    run = running(shell(f"echo told >> {trace}; while [ ! -e {gate} ]; do sleep 0.05; done"))
    run.notifier.changed("a", "/out/a", "1")
    await run.until(lambda: lines(trace))
    for number in range(100):
        run.notifier.changed("a", "/out/a", str(number))
        await asyncio.sleep(0)
    await asyncio.sleep(0.3)
    assert lines(trace) == ["told"], "one runs at a time"
    gate.touch()
    await run.until_told()
    assert lines(trace) == ["told", "told"]


async def test_a_failing_command_is_retried_by_itself_until_it_succeeds(running, tmp_path: Path) -> None:
    trace, cure = tmp_path / "trace", tmp_path / "cure"
    run = running(shell(f"echo told >> {trace}; [ -e {cure} ]"))
    run.notifier.changed("a", "/out/a", "1")
    await run.until(lambda: run.status.failures >= 2)
    assert run.status.error == "the command /bin/sh ended with exit code 1"
    assert run.status.waiting
    assert run.status.last_at is None
    cure.touch()
    await run.until_told()
    assert run.status.failures == 0
    assert run.status.error is None
    assert run.meter.counts["exec", "ok"] == 1
    assert run.meter.counts["exec", "failed"] == len(lines(trace)) - 1
    assert "notification failed" in run.stream.getvalue()
    assert "event=notified" in run.stream.getvalue()


async def test_a_newer_change_takes_a_failed_one_along_at_once(tmp_path: Path) -> None:
    told: list[Changes] = []

    async def carry_out(_: object, changes: Changes) -> None:
        told.append(changes)
        if len(told) == 1:
            raise NotifyFailed("not yet")

    (action,) = numbered([shell("true")])
    timing = Timing(debounce_min=0.01, debounce_max=1.0, pause_first=3600.0, pause_most=3600.0)
    log = Log(Level.DEBUG, stream=io.StringIO())
    worker = Worker(action, timing=timing, carry_out=carry_out, files={}, log=log, meter=Meter(), vitals=Vitals())
    task = asyncio.ensure_future(worker.run())
    worker.changed("old", "/out/old")
    while not worker.status().failures:
        await asyncio.sleep(0.01)
    worker.changed("new", "/out/new")
    while worker.status().waiting:
        await asyncio.sleep(0.01)
    assert [changes.templates for changes in told] == [("old",), ("new", "old")]
    worker.retire()
    await task


async def test_an_unexpected_fault_is_a_failure_that_tells_no_details(running, monkeypatch, tmp_path: Path) -> None:
    import injector.notify.commands as commands

    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("hunter2-in-a-text")

    monkeypatch.setattr(commands, "run_command", broken)
    run = running(shell("true"))
    run.notifier.changed("a", "/out/a", "1")
    await run.until(lambda: run.status.failures)
    assert run.status.error == "exec-1 failed unexpectedly: ZeroDivisionError"
    assert "hunter2" not in run.stream.getvalue()
    monkeypatch.undo()
    await run.until_told()


async def test_one_that_hangs_holds_up_no_other(running, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    run = running(shell("sleep 600", name="stuck", timeout=600.0), shell(f"echo told >> {trace}", name="quick"))
    run.notifier.changed("a", "/out/a", "1")
    await run.until(lambda: lines(trace))
    stuck, _ = run.notifier.status()
    assert stuck.waiting


async def test_an_action_that_does_not_end_in_its_time_is_overdue(running) -> None:
    run = running(shell("sleep 600", timeout=600.0))
    now = 0.0
    run.vitals._clock = lambda: now
    run.notifier.changed("a", "/out/a", "1")
    await run.until(run.vitals.ages)
    assert run.vitals.overdue() == ()
    now = 700.0
    assert [late.worker for late in run.vitals.overdue()] == ["notify exec-1"]


async def test_only_changes_of_matching_templates_count(running, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    show = f'echo "$INJECTOR_TEMPLATES:$INJECTOR_OUTPUTS" >> {trace}'
    run = running(shell(show, match="*.conf"), shell(f"echo all >> {trace}-all"))
    run.notifier.changed("b.json", "/out/b.json", "1")
    await run.until(lambda: lines(Path(f"{trace}-all")))
    assert not run.status.waiting
    run.notifier.changed("a.conf", "/out/a.conf", "1")
    await run.until(lambda: lines(trace))
    assert lines(trace) == ["a.conf:/out/a.conf"]


async def test_replaced_settings_hold_from_the_next_run_on(running, tmp_path: Path) -> None:
    trace, gate = tmp_path / "trace", tmp_path / "gate"
    run = running(shell(f"echo old >> {trace}; while [ ! -e {gate} ]; do sleep 0.05; done", name="one"))
    run.notifier.changed("a", "/out/a", "1")
    await run.until(lambda: lines(trace))
    run.notifier.replace([shell(f"echo new >> {trace}", name="one"), shell(f"echo two >> {trace}-2", name="two")])
    run.notifier.changed("a", "/out/a", "2")
    gate.touch()
    await run.until_told()
    assert lines(trace) == ["old", "new"]
    assert lines(Path(f"{trace}-2")) == ["two"]
    run.notifier.replace([])
    run.notifier.changed("a", "/out/a", "3")
    assert run.notifier.status() == ()
    await asyncio.sleep(0.3)
    assert lines(trace) == ["old", "new"]


async def test_at_the_end_what_runs_may_finish_and_nothing_starts(running, tmp_path: Path) -> None:
    trace, gate = tmp_path / "trace", tmp_path / "gate"
    run = running(shell(f"echo began >> {trace}; while [ ! -e {gate} ]; do sleep 0.05; done; echo ended >> {trace}"))
    run.notifier.changed("a", "/out/a", "1")
    await run.until(lambda: lines(trace))
    run.notifier.changed("a", "/out/a", "2")
    draining = asyncio.ensure_future(run.notifier.drain(60))
    await asyncio.sleep(0.1)
    assert not draining.done()
    gate.touch()
    await draining
    assert lines(trace) == ["began", "ended"]


async def test_a_cancelled_notifier_leaves_no_process(running, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    run = running(shell(f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; sleep 600", timeout=600.0))
    run.notifier.changed("a", "/out/a", "1")
    await run.until(pid_file.exists)
    await run.notifier.drain(0.1)
    run.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run.task
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


@pytest.mark.fault(75, "notifications go on when the log cannot be written")
async def test_a_full_disk_behind_the_log_stops_no_notification(running, tmp_path: Path) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    trace = tmp_path / "trace"
    run = running(shell(f"echo told >> {trace}; echo printed; [ $(wc -l < {trace}) -gt 1 ]"))
    run.log._stream = Full()
    run.notifier.changed("a", "/out/a", "1")
    await run.until_told()
    assert lines(trace) == ["told", "told"]
    assert run.status.error is None


@pytest.mark.fault(57, "the pods of a deployment tell their applications spread over `splay`, not all at once")
async def test_pods_that_change_together_are_spread(running, tmp_path: Path) -> None:
    runs = [running(shell("true"), splay=1000.0) for _ in range(20)]
    for run in runs:
        run.notifier.changed("a", "/out/a", "1")
    waits = [run.notifier._workers["exec-1"]._splayed for run in runs]
    assert len({round(wait) for wait in waits}) > 10
    assert all(0 <= wait <= 1000 for wait in waits)
