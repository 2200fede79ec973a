"""The past of a sidecar, with a sidecar that a test plays: a real one does not fail at the wanted moment."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from injector.errors import NoAnswer
from injector.telemetry.logs import Log
from injector.web import looking
from injector.web.history import MOST_SAMPLES, History
from injector.web.looking import SidecarView


class Played:
    """Answers with what `answer` gives."""

    control = Path("/run/control")

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer
        self.asked = 0

    def status(self) -> Any:
        self.asked += 1
        return self.answer()

    def refresh(self) -> Any:
        self.asked += 1
        return self.answer()


def a_file(
    name: str, state: str = "ready", rendered_at: float | None = 1.0, ages: tuple[float | None, ...] = ()
) -> Any:
    tokens = [{"age": age} for age in ages]
    return {"template": name, "state": state, "renderedAt": rendered_at, "tokens": tokens}


def a_status(*files: Any, ready: bool = True) -> dict[str, Any]:
    return {"ready": ready, "files": list(files)}


@pytest.fixture(autouse=True)
def _no_old_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "FRESH", 0.0)


async def samples(answers: list[Any], lines: io.StringIO | None = None) -> list[dict[str, Any]]:
    """The samples of a sidecar that gives *answers*, one after the other; exceptions are raised."""
    left = iter(answers)
    done = threading.Event()

    def answer() -> Any:
        found = next(left, None)
        if found is None:
            done.set()
            raise NoAnswer("over")
        if isinstance(found, Exception):
            raise found
        return found

    log = Log(stream=lines or io.StringIO())
    history = History(SidecarView(Played(answer), log), 0.001, log)
    task = asyncio.create_task(history.run())
    while not done.is_set():
        assert not task.done(), task
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return history.document()["samples"][: len(answers)]


@pytest.mark.anyio
async def test_a_sample_counts_files_by_state_and_has_the_oldest_age() -> None:
    files = [a_file("a", ages=(1.0, 9.5, None)), a_file("b", "stale", ages=(3.0,)), a_file("c", "pending", None)]
    (found,) = await samples([a_status(*files, ready=False)])
    assert (found["reachable"], found["ready"], found["oldestAge"], found["rendered"]) == (True, False, 9.5, 0)
    assert found["files"] == {"ready": 1, "stale": 1, "failed": 0, "pending": 1, "removed": 0}


@pytest.mark.anyio
async def test_renders_are_counted_from_one_sample_to_the_next_also_over_a_gap() -> None:
    before = a_status(a_file("a"), a_file("b"), a_file("c", "pending", None))
    after = a_status(a_file("a", rendered_at=2.0), a_file("b"), a_file("c", rendered_at=2.0), a_file("d"))
    found = await samples([before, before, NoAnswer("gone"), after, after])
    assert [each["rendered"] for each in found] == [0, 0, 0, 3, 0]


@pytest.mark.anyio
async def test_what_goes_wrong_is_a_sample_and_ends_nothing() -> None:
    lines = io.StringIO()
    good = a_status(a_file("a"))
    broken = [NoAnswer("gone"), RuntimeError("canary-1"), {"files": 3}, {"ready": True, "files": [{"canary-2": 1}]}]
    found = await samples([good, *broken, good], lines)
    assert [each["reachable"] for each in found] == [True, False, False, False, False, True]
    assert {key: found[2][key] for key in ("ready", "oldestAge", "rendered")} == dict.fromkeys(
        ("ready", "oldestAge"), None
    ) | {"rendered": 0}
    assert "RuntimeError" in lines.getvalue()
    assert "KeyError" in lines.getvalue()
    assert "canary" not in lines.getvalue()


@pytest.mark.anyio
async def test_only_the_last_samples_are_kept() -> None:
    log = Log(stream=io.StringIO())
    source = Played(a_status)
    history = History(SidecarView(source, log), 0.0, log)
    task = asyncio.create_task(history.run())
    while source.asked < MOST_SAMPLES + 5:
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(history.document()["samples"]) == MOST_SAMPLES


@pytest.mark.anyio
async def test_many_who_look_at_once_ask_once() -> None:
    release = threading.Event()

    def answer() -> Any:
        release.wait(60)
        return a_status()

    source = Played(answer)
    view = SidecarView(source, Log(stream=io.StringIO()))
    looks = [asyncio.create_task(view.look()) for _ in range(20)]
    await asyncio.sleep(0.05)
    looks[0].cancel()  # one of them leaves
    release.set()
    found = await asyncio.gather(*looks[1:])
    assert source.asked == 1
    assert all(each.status == a_status() for each in found)


@pytest.mark.anyio
async def test_many_refreshes_at_once_are_one_that_goes_on_when_they_leave() -> None:
    release = threading.Event()
    done: list[int] = []

    def answer() -> Any:
        release.wait(60)
        done.append(1)
        raise NoAnswer("it ended")

    source = Played(answer)
    view = SidecarView(source, Log(stream=io.StringIO()))
    first, second = asyncio.create_task(view.refresh()), asyncio.create_task(view.refresh())
    await asyncio.sleep(0.05)
    first.cancel()
    release.set()
    with pytest.raises(NoAnswer, match="it ended"):
        await second
    assert (source.asked, done) == (1, [1])


@pytest.mark.anyio
async def test_without_a_sidecar_there_is_nothing_to_refresh() -> None:
    view = SidecarView(None, Log(stream=io.StringIO()))
    assert not view.is_configured
    with pytest.raises(NoAnswer):
        await view.refresh()
