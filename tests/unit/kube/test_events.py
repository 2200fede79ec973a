"""What is asked of the API server for Events. The API server is a stand-in: it refuses at moments of our choosing."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from injector.app.pod_events import PodEvents
from injector.app.status import SidecarStatus
from injector.errors import ClusterError
from injector.kube.events import BURST, EVERY, SERIES_EVERY, EventWriter, News
from injector.kube.identity import Pod, own_pod
from injector.telemetry.logs import Level, Log

POD = Pod("shop", "web-1", "11111111-2222")


class Api:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.refusals: list[int | None] = []

    def call(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Any:
        self.calls.append((method, path, body))
        if self.refusals and (status := self.refusals.pop(0)) != 0:
            raise ClusterError("refused", status=status)
        return {}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def writer(api: Api, clock: Clock) -> EventWriter:
    return EventWriter(api, POD, clock=clock)  # type: ignore[arg-type]


def test_a_repetition_makes_the_series_longer_and_no_second_event() -> None:
    api, clock = Api(), Clock()
    events = writer(api, clock)
    news = News("Warning", "ServingStale", "a.json: store down")
    assert [events.write(news) for _ in range(5)] == [True, False, False, False, False]
    clock.now += SERIES_EVERY
    assert events.write(news)
    (created, patched) = api.calls
    assert created[0] == "POST"
    assert created[2]["regarding"]["uid"] == POD.uid
    assert patched[0] == "PATCH"
    assert patched[1].endswith(created[2]["metadata"]["name"])
    assert patched[2]["series"]["count"] == 6


def test_a_flood_is_bounded_and_counted() -> None:
    api, clock = Api(), Clock()
    events = writer(api, clock)
    for number in range(100):
        events.write(News("Warning", "RenderFailed", f"{number}"))
    assert len(api.calls) == BURST
    assert events.left_out == 100 - BURST
    clock.now += EVERY
    assert events.write(News("Warning", "RenderFailed", "later"))


def test_a_lost_answer_and_a_dropped_event_are_no_errors() -> None:
    api, clock = Api(), Clock()
    events = writer(api, clock)
    api.refusals = [409]
    assert events.write(News("Normal", "ConfigUpdated", "a"))
    clock.now += SERIES_EVERY
    api.refusals = [404, 0]
    assert events.write(News("Normal", "ConfigUpdated", "a"))
    assert [method for method, _, _ in api.calls] == ["POST", "PATCH", "POST"]


def test_a_long_note_with_line_ends_fits() -> None:
    api = Api()
    writer(api, Clock()).write(News("Normal", "ConfigUpdated", "é\n" * 2000))
    note = api.calls[0][2]["note"]
    assert len(note.encode()) <= 1024
    assert "\n" not in note


@pytest.mark.fault(82, "an API server that is away or busy delays Events and stops nothing")
async def test_events_wait_for_an_api_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    api, stream = Api(), io.StringIO()
    api.refusals = [None, 429, 503]
    events = PodEvents(
        EventWriter(api, POD),  # type: ignore[arg-type]
        status=lambda: SidecarStatus(started=True),
        log=Log(Level.INFO, stream=stream),
    )
    monkeypatch.setattr("injector.app.pod_events._EVERY", 0.01)
    monkeypatch.setattr("injector.app.pod_events._LONGEST_PAUSE", 0.01)
    task = asyncio.create_task(events.run())
    try:
        async with asyncio.timeout(60):
            while len(api.calls) < 4:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
    finally:
        task.cancel()
        await asyncio.wait((task,))
    assert len(api.calls) == 4, "told once it could be, and not again"
    assert stream.getvalue().count("Events cannot be written") == 1


def test_the_pod_is_known_from_its_token(tmp_path: Path) -> None:
    claims = {"kubernetes.io": {"namespace": "shop", "pod": {"name": "web-1", "uid": POD.uid}}}
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    (tmp_path / "token").write_bytes(b"e30." + body + b".c2ln\n")
    assert own_pod({}, tmp_path) == POD
    assert own_pod({"POD_NAME": "other"}, tmp_path).name == "other"


@pytest.mark.parametrize("token", [None, b"", b"opaque", b"a.!!.c", b"a.W10.c", b"a.e30.c"])
def test_a_token_that_does_not_say_is_an_error_with_a_hint(tmp_path: Path, token: bytes | None) -> None:
    if token is not None:
        (tmp_path / "token").write_bytes(token)
    with pytest.raises(ClusterError) as caught:
        own_pod({}, tmp_path)
    assert "POD_NAME" in str(caught.value.hint)


@pytest.mark.parametrize("status", [None, 401, 403, 429, 503])
async def test_after_days_without_an_api_server_events_are_still_tried(
    monkeypatch: pytest.MonkeyPatch, status: int | None
) -> None:
    """More failures than a float has doublings; and none of these is a reason to leave the news out."""
    api = Api()
    api.refusals = [status] * 1100
    events = PodEvents(
        EventWriter(api, POD, clock=time.monotonic),  # type: ignore[arg-type]
        status=lambda: SidecarStatus(started=True),
        log=Log(Level.INFO, stream=io.StringIO()),
    )
    monkeypatch.setattr("injector.app.pod_events._EVERY", 0.0)
    monkeypatch.setattr("injector.app.pod_events._LONGEST_PAUSE", 0.0)
    monkeypatch.setattr(EventWriter, "_take", lambda _: True)
    task = asyncio.create_task(events.run())
    try:
        async with asyncio.timeout(100):
            while len(api.calls) < 1101:
                assert not task.done(), task.exception()
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.wait((task,))
