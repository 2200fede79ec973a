"""The control socket: who may use it, and what it does."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from injector.app.serving import client
from injector.app.serving.control import ControlServer
from injector.app.status import SidecarStatus
from injector.errors import ListenFailed, NoAnswer, PluginCrashed


@pytest.fixture
def control() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ctl-", dir="/tmp") as directory:
        yield Path(directory) / "control"


class Sidecar:
    """What stands behind the socket in these tests."""

    def __init__(self, control: Path) -> None:
        self.refreshes = 0
        self.quits = 0
        self.summary: Mapping[str, Any] = {"changed": 1, "failed": 0}
        self.error: Exception | None = None
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.server = ControlServer(
            control,
            status=lambda: SidecarStatus(started=True),
            refresh=self.refresh,
            quit=self.quit,
            clean=lambda text: text.replace("canary", "***"),
        )

    async def refresh(self) -> Mapping[str, Any]:
        self.refreshes += 1
        await self.may_end.wait()
        if self.error:
            raise self.error
        return self.summary

    def quit(self) -> None:
        self.quits += 1


@pytest.fixture
async def sidecar(control: Path) -> Any:
    instance = Sidecar(control)
    instance.server.start()
    yield instance
    instance.server.close()


async def ask(control: Path, path: str, method: str = "GET", token: str | None = None) -> tuple[int, Any]:
    token = client.read_token(control) if token is None else token
    answer = await asyncio.to_thread(client.ask, control, path, method=method, token=token, timeout=60)
    try:
        return answer.status, json.loads(answer.body)
    except ValueError:
        return answer.status, answer.body.decode()


async def test_only_the_owner_may_open_the_socket_and_its_token(sidecar: Sidecar, control: Path) -> None:
    for path in (control, control.with_name("control.token")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(client.read_token(control)) >= 40


async def test_nothing_without_the_token(sidecar: Sidecar, control: Path) -> None:
    for token in ("", "wrong", "\u00e4"):
        status, body = await ask(control, "/refresh", "POST", token)
        assert status == 401
        assert client.read_token(control) not in str(body)
    assert sidecar.refreshes == 0


async def test_status_refresh_and_quit(sidecar: Sidecar, control: Path) -> None:
    status, document = await ask(control, "/status")
    assert (status, document["schemaVersion"], document["started"]) == (200, 1, True)
    assert await ask(control, "/refresh", "POST") == (200, {"schemaVersion": 1, "changed": 1, "failed": 0})
    assert await ask(control, "/quitquitquit", "POST") == (200, {"schemaVersion": 1, "quitting": True})
    assert (sidecar.refreshes, sidecar.quits) == (1, 1)
    assert (await ask(control, "/refresh"))[0] == 405
    assert (await ask(control, "/other"))[0] == 404


async def test_a_refresh_that_nobody_waits_for_still_runs(sidecar: Sidecar, control: Path) -> None:
    sidecar.may_end.clear()
    assert await ask(control, "/refresh?wait=false", "POST") == (202, {"schemaVersion": 1, "refreshing": True})
    with pytest.raises(NoAnswer, match="no answer from"):
        await asyncio.to_thread(
            client.ask, control, "/refresh", method="POST", token=client.read_token(control), timeout=0.3
        )
    for _ in range(600):
        if sidecar.refreshes == 2:
            break
        await asyncio.sleep(0.05)
    sidecar.may_end.set()
    assert (await ask(control, "/refresh", "POST"))[0] == 200
    assert sidecar.refreshes == 3


async def test_a_refresh_that_fails_says_why(sidecar: Sidecar, control: Path) -> None:
    sidecar.error = PluginCrashed("the plugin said canary")
    assert await ask(control, "/refresh", "POST") == (
        502,
        {"schemaVersion": 1, "code": "plugin-crashed", "error": "the plugin said ***"},
    )


async def test_a_page_of_another_host_is_refused(sidecar: Sidecar, control: Path) -> None:
    def rebound() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(control))
            token = client.read_token(control)
            head = f"POST /refresh HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer {token}\r\n\r\n"
            connection.sendall(head.encode())
            return connection.recv(4096)

    assert (await asyncio.to_thread(rebound)).startswith(b"HTTP/1.1 421 ")
    assert sidecar.refreshes == 0


async def test_a_dead_socket_is_replaced_and_a_live_one_refused(control: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(control))
    first, second = Sidecar(control), Sidecar(control)
    first.server.start()
    with pytest.raises(ListenFailed, match="another program listens there"):
        await asyncio.to_thread(asyncio.run, start(second))
    second.server.close()
    assert (await ask(control, "/status"))[0] == 200
    first.server.close()
    assert list(control.parent.iterdir()) == []


async def start(sidecar: Sidecar) -> None:
    sidecar.server.start()


async def test_what_is_no_socket_is_left_alone(control: Path) -> None:
    control.write_text("mine")
    with pytest.raises(ListenFailed, match="something else has this name"):
        Sidecar(control).server.start()
    assert control.read_text() == "mine"


async def test_a_directory_that_is_not_there_and_a_path_that_is_too_long(control: Path) -> None:
    with pytest.raises(ListenFailed, match="no such file or directory"):
        Sidecar(control.parent / "no" / "control").server.start()
    with pytest.raises(ListenFailed, match="longer than a unix socket"):
        Sidecar(control.parent / ("x" * 120)).server.start()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_directory_that_may_not_be_written_to(control: Path) -> None:
    control.parent.chmod(0o500)
    with pytest.raises(ListenFailed, match="permission denied"):
        Sidecar(control).server.start()
    control.parent.chmod(0o700)
