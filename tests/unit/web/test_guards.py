"""Requests that another page, or another name for this machine, makes a browser send."""

from __future__ import annotations

import json
from typing import Any

import pytest

from injector.web.guards import Guard, own_hosts

OURS = {"host": "127.0.0.1:8123"}
THERE = {**OURS, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


async def asked(method: str, path: str, headers: list[tuple[str, str]], *, port: int = 8123) -> tuple[int, str]:
    """Status and error code; 200 when the guard lets the request through."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def send(message: Any) -> None:
        sent.append(message)

    guard = Guard(app)
    guard.hosts = own_hosts(port)
    raw = [(name.encode(), value.encode()) for name, value in headers]
    await guard({"type": "http", "method": method, "path": path, "headers": raw}, None, send)
    document = json.loads(sent[1]["body"])
    return sent[0]["status"], document.get("error", {}).get("code", "")


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1:8123", "localhost:8123", "[::1]:8123", "LocalHost:8123"])
async def test_our_names_are_answered(host: str) -> None:
    assert await asked("GET", "/", [("host", host)]) == (200, "")
    assert await asked("POST", "/api/session", [("host", host), ("origin", f"http://{host.lower()}")]) == (200, "")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8123", "127.0.0.1", "127.0.0.1:8124", "127.0.0.1:81230", "127.0.0.2:8123", ""),
        *("localhost.evil.example:8123", "127.0.0.1:8123.evil.example", "127.0.0.1:8123 ", "[::1]", "0.0.0.0:8123"),
    ],
)
async def test_a_name_that_was_rebound_to_this_machine_is_refused(host: str) -> None:
    assert await asked("GET", "/api/session", [("host", host)]) == (421, "host-unknown")


@pytest.mark.anyio
async def test_a_request_without_or_with_two_hosts_is_refused() -> None:
    assert await asked("GET", "/", []) == (421, "host-unknown")
    assert await asked("GET", "/", [("host", "127.0.0.1:8123"), ("host", "evil.example")]) == (421, "host-unknown")


@pytest.mark.anyio
async def test_browsers_leave_port_80_away() -> None:
    assert await asked("GET", "/", [("host", "localhost")], port=80) == (200, "")
    assert await asked("GET", "/", [("host", "localhost")], port=8080) == (421, "host-unknown")


@pytest.mark.anyio
@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "Same-Origin", "anything"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/api/sidecar"), ("GET", "/"), ("POST", "/api/session")])
async def test_what_another_site_asks_for_is_refused(method: str, path: str, site: str) -> None:
    headers = [*OURS.items(), ("origin", "http://127.0.0.1:8123"), ("sec-fetch-site", site)]
    assert await asked(method, path, headers) == (403, "cross-site")


@pytest.mark.anyio
async def test_a_link_leads_to_the_page_and_nowhere_else() -> None:
    assert await asked("GET", "/", list(THERE.items())) == (200, "")
    assert await asked("GET", "/api/session", list(THERE.items())) == (403, "cross-site")
    assert await asked("GET", "/injector.js", list(THERE.items())) == (403, "cross-site")
    assert await asked("POST", "/", list(THERE.items())) == (403, "cross-site")
    for header, value in (("sec-fetch-dest", "iframe"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "object")):
        assert await asked("GET", "/", list({**THERE, header: value}.items())) == (403, "cross-site")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "origin",
    [None, "null", "http://127.0.0.1:8124", "https://127.0.0.1:8123", "http://localhost:8123", "http://evil.example"],
)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE"])
async def test_changes_need_our_own_origin(method: str, origin: str | None) -> None:
    headers = [*OURS.items(), ("sec-fetch-site", "none"), *([("origin", origin)] if origin is not None else [])]
    assert await asked(method, "/api/connections", headers) == (403, "origin-unknown")


@pytest.mark.anyio
async def test_an_origin_that_is_not_ours_reads_nothing_either() -> None:
    assert await asked("GET", "/api/session", [*OURS.items(), ("origin", "null")]) == (403, "origin-unknown")
    twice = [*OURS.items(), ("origin", "http://127.0.0.1:8123"), ("origin", "http://evil.example")]
    assert await asked("POST", "/api/session", twice) == (403, "origin-unknown")
