"""Probes, status and metrics over HTTP, and what hostile clients can do to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import threading
import time
from typing import Any

import pytest

from injector.app.serving.health import StatusServer
from injector.app.status import FileState, SidecarStatus
from injector.errors import ListenFailed
from injector.telemetry.redaction import Redactor
from injector.telemetry.vitals import Vitals


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_live_while_workers_complete_their_work_and_not_when_one_is_late(served: Any) -> None:
    clock = Clock()
    served.vitals = Vitals(clock=clock)
    served.vitals.expect("rescan", within=60)
    served.start()
    assert served.get("/livez")[:2] == (200, "ok\n")
    clock.now = 61
    for path in ("/livez", "/healthz"):
        status, body, _ = served.get(path)
        assert status == 503
        assert "rescan: nothing completed for 61.0 s, 60 s are allowed" in body
    served.vitals.completed("rescan")
    status, body, _ = served.get("/livez?verbose")
    assert (status, body) == (200, "[+]rescan: completed something 0.0 s ago\nok\n")


def test_ready_names_the_files_that_are_not(served: Any, make_file: Any) -> None:
    served.start()
    assert served.get("/readyz")[:2] == (200, "ok\n")
    served.status = SidecarStatus(
        started=True,
        files=(
            make_file("good"),
            make_file("new", FileState.PENDING),
            make_file("old", FileState.STALE, too_stale=True),
            make_file("fresh enough", FileState.STALE),
            make_file("bad", FileState.FAILED, error="no parameter /x\nin eu-west-1"),
            make_file("optional", FileState.FAILED, required=False),
        ),
    )
    status, body, _ = served.get("/readyz")
    assert status == 503
    assert body.splitlines() == [
        "[-]new: not rendered yet",
        "[-]old: stale for longer than maxStale",
        "[-]bad: no good file: no parameter /x in eu-west-1",
        "failed",
    ]
    assert "[+]good: ready" in served.get("/readyz?verbose")[1]


def test_thousands_of_missing_files_make_a_short_answer(served: Any, make_file: Any) -> None:
    files = tuple(make_file(f"f{number}", FileState.PENDING) for number in range(10_000))
    served.status = SidecarStatus(started=False, files=files)
    served.start()
    body = served.get("/readyz")[1]
    assert len(body.splitlines()) == 102
    assert "[-]and 9900 more" in body


def test_started_once_every_required_file_was_rendered(served: Any) -> None:
    served.status = SidecarStatus(started=False)
    served.start()
    assert served.get("/startupz")[0] == 503
    assert served.get("/readyz")[0] == 503
    served.status = SidecarStatus(started=True)
    assert served.get("/startupz")[0] == 200


@pytest.mark.fault(69, "status, probes and metrics show names and hashes; known values in messages are masked")
def test_status_is_documented_json_without_known_values(served: Any) -> None:
    redactor = Redactor()
    redactor.add(b"canary-S3cret-4711")
    served.start(clean=redactor.clean)
    status, body, headers = served.get("/status")
    document = json.loads(body)
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    assert document["schemaVersion"] == 1
    assert document["ready"] is True
    assert document["files"][0]["tokens"][0] == {
        "id": "0123456789ab",
        "backend": "AWSPARAMSTR",
        "version": None,
        "age": 12.0,
        "nextRefresh": None,
        "error": None,
    }
    assert document["plugins"][0]["lastError"] == "it said ***"
    for path in ("/status", "/metrics", "/livez?verbose", "/readyz?verbose", "/startupz?verbose"):
        assert "canary" not in served.get(path)[1]


def test_read_only_and_no_other_pages(served: Any) -> None:
    served.start()
    status, _, headers = served.get("/livez", method="POST")
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert served.get("/refresh", method="POST")[0] == 404
    assert served.get("/..%2fetc/passwd")[0] == 404
    status, body, headers = served.get("/livez", method="HEAD")
    assert (status, body, headers["content-length"]) == (200, "", "3")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /livez HTTP/2.0\r\n\r\n", 400),
        (b"GET http://x/livez HTTP/1.1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n name: folded\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"GET /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET /livez HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /livez HTTP/1.1\r\nbig: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    ],
)
def test_malformed_requests_are_refused_with_a_reason(served: Any, request_: bytes, status: int) -> None:
    host, port = served.start().rsplit(":", 1)
    with socket.create_connection((host, int(port)), 60) as connection:
        connection.sendall(request_)
        assert connection.recv(65536).startswith(b"HTTP/1.1 %d " % status)
    assert served.get("/livez")[0] == 200


@pytest.mark.fault(70, "1,000 idle connections and slow requests keep no probe from being answered")
def test_a_thousand_idle_connections_do_no_harm(served: Any) -> None:
    host, port = served.start().rsplit(":", 1)
    threads = threading.active_count()
    idle = []
    try:
        for number in range(1_000):
            connection = socket.create_connection((host, int(port)), 60)
            if number % 2:
                connection.sendall(b"GET /livez HTTP/1.1\r\nslow: ")
            idle.append(connection)
        assert served.get("/livez")[:2] == (200, "ok\n")
        assert served.get("/readyz")[0] == 200
        assert threading.active_count() == threads
        assert len(served.server._server._tasks) <= 64
    finally:
        for connection in idle:
            connection.close()


@pytest.mark.fault(70, "a client that sends or takes nothing is dropped after some seconds")
def test_a_slow_request_is_ended(served: Any) -> None:
    host, port = served.start(patience=0.3).rsplit(":", 1)
    with socket.create_connection((host, int(port)), 60) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    assert served.get("/livez")[0] == 200


async def test_a_blocked_event_loop_fails_the_liveness_probe_while_it_is_blocked(served: Any) -> None:
    served.start(loop_within=0.5)
    answers: list[tuple[int, str]] = []
    done = threading.Event()

    def probe() -> None:
        deadline = time.monotonic() + 50
        while time.monotonic() < deadline and (not answers or answers[-1][0] == 200):
            answers.append(served.get("/livez")[:2])
            time.sleep(0.05)
        answers.append(served.get("/readyz")[:2])
        answers.append(served.get("/metrics")[:2])
        done.set()

    asker = threading.Thread(target=probe)
    asker.start()
    done.wait(60)  # this is the fault: the loop does not turn meanwhile
    asker.join()
    live, ready, metrics = answers[-3:]
    assert live[0] == 503
    assert "event loop: nothing completed for" in live[1]
    assert ready == (503, "the event loop does not turn\n")
    assert metrics[0] == 200
    for _ in range(600):  # the beat that is due comes first
        await asyncio.sleep(0.05)
        if not served.vitals.overdue():
            break
    status, _, _ = await asyncio.to_thread(served.get, "/readyz")
    assert status == 200


def test_a_fault_of_ours_is_answered_without_its_text(served: Any) -> None:
    def broken() -> SidecarStatus:
        raise ValueError("canary-4711")

    server = StatusServer("127.0.0.1:0", status=broken, vitals=Vitals())
    served.server, served.address = server, server.start()
    assert served.get("/status")[:2] == (500, "internal error: ValueError\n")
    assert served.get("/metrics")[0] == 404
    assert served.get("/livez")[0] == 200


def test_a_port_in_use_is_a_clear_error(served: Any) -> None:
    address = served.start()
    other = StatusServer(address, status=lambda: served.status, vitals=Vitals())
    with pytest.raises(ListenFailed, match=f"cannot listen on {re.escape(address)}: the address is in use") as caught:
        other.start()
    assert caught.value.exit_code == 3
    other.close()


def test_a_host_that_is_not_here_is_a_clear_error() -> None:
    server = StatusServer("192.0.2.1:0", status=lambda: SidecarStatus(started=True), vitals=Vitals())
    with pytest.raises(ListenFailed, match=r"cannot listen on 192\.0\.2\.1:0"):
        server.start()


def test_all_interfaces_and_closing_twice(served: Any) -> None:
    server = StatusServer(":0", status=lambda: served.status, vitals=Vitals())
    port = server.start().rsplit(":", 1)[1]
    served.address = f"127.0.0.1:{port}"
    assert served.get("/readyz")[0] == 200
    server.close()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        served.get("/readyz")
