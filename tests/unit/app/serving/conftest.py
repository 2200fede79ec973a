"""Snapshots and a server for each test."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from injector.app.serving.health import StatusServer
from injector.app.status import FileState, FileStatus, SidecarStatus, TokenStatus
from injector.backends.plugin_status import PluginState, PluginStatus
from injector.telemetry.metrics import PrometheusMeter
from injector.telemetry.vitals import Vitals

CANARY = "canary-S3cret-4711"


def file(name: str = "app.yml", state: FileState = FileState.READY, **fields: Any) -> FileStatus:
    token = TokenStatus(id="0123456789ab", backend="AWSPARAMSTR", age=12.0)
    return FileStatus(template=name, output=f"/out/{name}", state=state, tokens=(token,), **fields)


def plugin(name: str = "awsparamstr", state: PluginState = PluginState.RUNNING, starts: int = 3) -> PluginStatus:
    return PluginStatus(name, state, starts, 2, 0, f"it said {CANARY}", 1.0, None)


class Served:
    """A running server with what it serves, to be changed by the test."""

    def __init__(self) -> None:
        self.status = SidecarStatus(started=True, files=(file(),), plugins=(plugin(),))
        self.vitals = Vitals()
        self.meter = PrometheusMeter()
        self.server: StatusServer | None = None
        self.address = ""

    def start(self, **options: Any) -> str:
        self.server = StatusServer(
            "127.0.0.1:0", status=lambda: self.status, vitals=self.vitals, meter=self.meter, **options
        )
        self.address = self.server.start()
        return self.address

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
        host, port = self.address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        try:
            connection.request(method, path, headers={key.replace("_", "-"): value for key, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), {key.lower(): value for key, value in answer.headers.items()}
        finally:
            connection.close()


@pytest.fixture
def served() -> Iterator[Served]:
    """Not started yet: `served.start()`."""
    instance = Served()
    yield instance
    if instance.server is not None:
        instance.server.close()


@pytest.fixture
def make_file() -> Callable[..., FileStatus]:
    return file
