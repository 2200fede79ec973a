"""`injector health`, `refresh` and `status` against servers that run."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from injector.app.serving.control import ControlServer
from injector.app.serving.health import StatusServer
from injector.app.status import FileState, FileStatus, NotificationStatus, SidecarStatus, TokenStatus
from injector.telemetry.metrics import PrometheusMeter
from injector.telemetry.vitals import Vitals

INJECTOR = Path(sys.executable).with_name("injector")


class Sidecar:
    """Both servers in a loop of their own thread, as a process of its own would have them."""

    def __init__(self, directory: Path) -> None:
        token = TokenStatus(id="0123456789ab", backend="ENV", age=150.0)
        self.status = SidecarStatus(
            started=True,
            files=(FileStatus("app.yml", "/out/app.yml", FileState.READY, rendered_at=1.0, tokens=(token,)),),
            notifications=(NotificationStatus("reload", "signal"),),
        )
        self.control = directory / "control"
        self.summary: Mapping[str, Any] = {"changed": 2, "unchanged": 1, "failed": 0}
        self.address = ""
        self._vitals = Vitals()
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _main(self) -> None:
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        health = StatusServer(
            "127.0.0.1:0", status=lambda: self.status, vitals=self._vitals, meter=PrometheusMeter(), clean=str
        )
        control = ControlServer(
            self.control, status=lambda: self.status, refresh=self._refresh, quit=self._stop.set, clean=str
        )
        self.address = health.start()
        control.start()
        self._ready.set()
        await self._stop.wait()
        control.close()
        health.close()

    async def _refresh(self) -> Mapping[str, Any]:
        return self.summary

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


@pytest.fixture
def sidecar() -> Iterator[Sidecar]:
    with tempfile.TemporaryDirectory(prefix="ctl-", dir="/tmp") as directory, Sidecar(Path(directory)) as running:
        yield running


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [INJECTOR, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_health_is_yes_or_no(sidecar: Sidecar) -> None:
    for flags in ([], ["--live"], ["--ready"], ["--startup"]):
        done = run("health", *flags, "--listen", sidecar.address)
        assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    file = FileStatus("app.yml", "/out/app.yml", FileState.PENDING)
    sidecar.status = SidecarStatus(started=False, files=(file,))
    done = run("health", "--ready", INJECTOR_LISTEN=sidecar.address)
    assert (done.returncode, done.stdout) == (1, "failed\n[-]app.yml: not rendered yet\n")
    assert run("health", "--startup", INJECTOR_LISTEN=sidecar.address).returncode == 1
    assert run("health", INJECTOR_LISTEN=sidecar.address).returncode == 0


def test_health_for_programs_and_from_the_settings_file(sidecar: Sidecar, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    port = sidecar.address.rpartition(":")[2]
    settings.write_text(f"apiVersion: config-injector.io/v1alpha1\nkind: Injector\nlisten: ':{port}'\n")
    done = run("health", "--ready", "--config", settings, "--format", "json")
    assert json.loads(done.stdout) == {"schemaVersion": 1, "probe": "readyz", "passed": True, "reasons": []}


def test_health_of_a_sidecar_that_is_not_there_is_no() -> None:
    done = run("health", "--listen", "127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "failed\nnobody answers on 127.0.0.1:1\n")
    done = run("health")
    assert done.returncode == 2
    assert "no address to ask" in done.stderr
    assert run("health", "--listen", "127.0.0.1:1", "--timeout", "soon").returncode == 2


def test_health_imports_little() -> None:
    code = (
        "import sys\nfrom injector.cli.main import main\n"
        "assert main(['health', '--listen', '127.0.0.1:1']) == 1\n"
        "heavy = {'asyncio', 'http.client', 'yaml', 'structlog', 'prometheus_client', 'grpc', 'email', 'ssl'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_refresh_tells_what_was_done(sidecar: Sidecar) -> None:
    done = run("refresh", "--control", sidecar.control)
    assert (done.returncode, done.stderr) == (0, "refreshed: 2 changed, 1 unchanged, 0 failed\n")
    done = run("refresh", "--no-wait", "--format", "json", INJECTOR_CONTROL=str(sidecar.control))
    assert json.loads(done.stdout) == {"schemaVersion": 1, "refreshing": True}
    sidecar.summary = {"failed": 1}
    assert run("refresh", "--control", sidecar.control).returncode == 1


def test_status_is_a_table_or_json(sidecar: Sidecar) -> None:
    done = run("status", "--control", sidecar.control)
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[0] == "ready"
    assert lines[1].split() == ["FILE", "STATE", "RENDERED", "OLDEST", "VALUE", "ERROR"]
    assert lines[2].startswith("app.yml  ready  ")
    assert lines[2].endswith("2m ago")
    assert "reload" in done.stdout
    document = json.loads(run("status", "--control", sidecar.control, "--format", "json").stdout)
    assert document["files"][0]["tokens"][0]["id"] == "0123456789ab"
    sidecar.status = SidecarStatus(started=False)
    assert run("status", "--control", sidecar.control).returncode == 1


def test_a_control_socket_that_is_not_there_or_has_another_token(sidecar: Sidecar, tmp_path: Path) -> None:
    done = run("refresh", "--control", tmp_path / "none")
    assert done.returncode == 5
    assert "is the sidecar running" in done.stderr
    assert run("status").returncode == 2
    sidecar.control.with_name("control.token").write_text("another\n")
    done = run("refresh", "--control", sidecar.control)
    assert done.returncode == 6
    assert "refuses the token" in done.stderr
