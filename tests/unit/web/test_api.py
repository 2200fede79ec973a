"""What is answered when something breaks that should not, with sources that a test plays for that."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest

from injector.errors import ConnectionInvalid
from injector.telemetry.logs import Level, Log
from injector.web.api import Api
from injector.web.application import application
from injector.web.guards import own_hosts
from injector.web.history import History
from injector.web.looking import SidecarView
from injector.web.page_files import PageFile, read_page
from injector.web.session import OneTimeToken, Sessions
from injector.web.trials import Trials


class Broken:
    """Every question ends in an error that tells a secret."""

    where = refusal = None

    def all(self) -> Any:
        raise RuntimeError("canary-all")

    show = prefixes = remove = lambda self, *_: self.all()

    def add(self, name: str, prefix: str, settings: Any, secrets: Any) -> Any:
        text = " ".join(secret.reveal().decode() for secret in secrets.values())
        raise ConnectionInvalid(f"it was {text}", hint=f"not {text}")

    async def test(self, name: str, path: str | None) -> Any:
        raise KeyError("canary-test")


class Client:
    """Signed in, without a network."""

    def __init__(self) -> None:
        self.lines = io.StringIO()
        log = Log(Level.DEBUG, stream=self.lines)
        tokens, view = OneTimeToken(), SidecarView(None, log)
        self.token = tokens.issue()
        api = Api(tokens, Sessions(), view, History(view, 5.0, log), Broken(), log)
        self.app = application(api, {"/": PageFile(b"", "text/html")})
        self.app.hosts = own_hosts(8123)
        self.headers = {"host": "127.0.0.1:8123", "origin": "http://127.0.0.1:8123", "content-type": "application/json"}

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        sent: list[Any] = []
        data = b"" if body is None else json.dumps(body).encode()
        headers = self.headers | {"content-length": str(len(data))}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "headers": raw, "query_string": b"", "root_path": ""}

        async def receive() -> Any:
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        for name, value in sent[0]["headers"]:
            if name == b"set-cookie":
                self.headers["cookie"] = value.decode().partition(";")[0]
        text = sent[1]["body"]
        return sent[0]["status"], json.loads(text) if text else None

    async def sign_in(self) -> None:
        _, answer = await self.ask("POST", "/api/session", {"token": self.token})
        self.headers["x-csrf-token"] = answer["csrf"]


@pytest.mark.anyio
async def test_a_fault_of_ours_is_told_without_its_text_and_the_server_goes_on() -> None:
    client = Client()
    await client.sign_in()
    for method, path, body in [
        ("GET", "/api/connections", None),
        ("GET", "/api/connections/x", None),
        ("GET", "/api/prefixes", None),
        ("DELETE", "/api/connections/x", None),
        ("POST", "/api/connections/x/test", {}),
    ]:
        status, answer = await client.ask(method, path, body)
        assert (status, answer["error"]["code"]) == (500, "internal-error")
        assert "canary" not in json.dumps(answer)
    assert (await client.ask("GET", "/api/session"))[0] == 200
    assert "canary" not in client.lines.getvalue()
    assert "RuntimeError" in client.lines.getvalue()


@pytest.mark.anyio
async def test_an_error_that_quotes_what_was_sent_is_masked() -> None:
    client = Client()
    await client.sign_in()
    body = {"name": "x", "prefix": "X", "secrets": {"password": "canary-4711"}}
    status, answer = await client.ask("POST", "/api/connections", body)
    assert (status, answer["error"]) == (
        422,
        {"code": "connection-invalid", "message": "it was ***", "hint": "not ***"},
    )


@pytest.mark.anyio
async def test_wrong_tokens_are_logged_twice_however_many_are_tried() -> None:
    client = Client()
    for _ in range(150):
        assert (await client.ask("POST", "/api/session", {"token": "wrong"}))[0] == 401
    assert (await client.ask("POST", "/api/session", {"token": client.token}))[0] == 401
    assert client.lines.getvalue().count("\n") == 2
    assert client.token not in client.lines.getvalue()


@pytest.mark.anyio
async def test_trials_run_a_few_at_a_time_and_end_with_the_process() -> None:
    trials, running, most, ended = Trials(), 0, 0, 0

    async def trial() -> dict[str, Any]:
        nonlocal running, most, ended
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)  # a plugin takes its time to end
            running, ended = running - 1, ended + 1
        return {}

    asking = [asyncio.create_task(trials.run(trial())) for _ in range(5)]
    while running < 2:
        await asyncio.sleep(0.01)
    asking[0].cancel()  # who leaves ends no trial
    await asyncio.sleep(0.01)
    assert running == 2
    await trials.close()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert (running, most, ended) == (0, 2, 2)
    assert [type(error).__name__ for error in found] == ["CancelledError", *["NoAnswer"] * 4]


def test_the_page_is_a_fixed_list_of_files(tmp_path: Any) -> None:
    for name in ("index.html", "a.js", "notes.md", ".hidden", "b.css~"):
        (tmp_path / name).write_text(name)
    assert set(read_page(tmp_path)) == {"/", "/a.js"}
    assert read_page(tmp_path)["/"].media_type == "text/html; charset=utf-8"
