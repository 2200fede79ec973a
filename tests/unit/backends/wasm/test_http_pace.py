"""Limits that a plugin sets to its own requests: how soon, and how long."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fixtures_http import redirect

from injector.backends.wasm.http_client import HttpClient, HttpRequest
from injector.backends.wasm.http_pace import Pace
from injector.backends.wasm.http_policy import HttpPolicy, parse_rule
from injector.backends.wasm.signing import Signers
from injector.errors import CallTimeout, Throttled
from injector.telemetry.logs import Level, Log


def hour() -> float:
    return 3600.0


def test_requests_of_several_threads_go_out_evenly_and_the_first_at_once() -> None:
    pace, went = Pace(), []

    def ask(_: int) -> None:
        pace.wait(50, hour)
        went.append(time.monotonic())

    began = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(20)))
    for number, at in enumerate(sorted(went)):
        assert at - began >= number / 50


def test_a_turn_that_comes_too_late_is_refused_at_once_with_the_pause_and_is_not_taken() -> None:
    pace = Pace()
    pace.wait(0.01, hour)
    for _ in range(3):  # each would be 100 s later if the former had taken a turn
        with pytest.raises(Throttled, match=r"rate limit of 0\.01 requests a second") as caught:
            pace.wait(0.01, lambda: 5.0)
        assert caught.value.retry_after is not None
        assert 90 < caught.value.retry_after <= 100


def test_a_call_that_is_cancelled_does_not_wait_for_its_turn() -> None:
    pace, cancelled = Pace(), threading.Event()
    pace.wait(0.001, hour)

    def left() -> float:
        if cancelled.is_set():
            raise CallTimeout("cancelled")
        cancelled.set()
        return 3600.0

    with pytest.raises(CallTimeout, match="cancelled"):
        pace.wait(0.001, left)


def client(*hosts: str, redirects: int = 0) -> HttpClient:
    policy = HttpPolicy(hosts=tuple(map(parse_rule, hosts)), redirects=redirects)
    return HttpClient(policy, Signers(), environment={}, log=Log(Level.OFF), identity="demo:conn-1")


@pytest.mark.parametrize("hops", [0, 1])
def test_a_request_has_its_own_time_out_also_after_a_redirect(serve, hops: int) -> None:
    slow = serve(lambda connection, head: connection.recv(1))
    first = serve(redirect(slow.origin)) if hops else slow
    http = client(first.origin, slow.origin, redirects=1)
    with pytest.raises(CallTimeout, match=r"did not answer within 0\.2 s, the plugin's own limit"):
        http.send(HttpRequest("GET", first.origin, timeout=0.2), hour)
    assert len(slow.heads) == 1


def test_a_manifest_that_narrows_the_client_leaves_the_pace_shared() -> None:
    from injector.backends.wasm.manifest import Manifest

    http = client("api.example.com")
    assert http.narrowed_by(Manifest())._pace is http._pace
