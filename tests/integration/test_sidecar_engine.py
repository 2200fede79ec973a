"""The sidecar's loop over real files, a real mount's layout, the real plugin and a store that can fail."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sidecar_running import content, running, state
from waiting import PATIENCE, until

from injector.app.status import FileState
from injector.settings.load import load
from injector.settings.schema import PluginSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent


class Ssm:
    """fake_ssm.py as a process that can be killed and come back at the same address."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[str] | None = None

    def up(self) -> None:
        command = [sys.executable, str(HERE / "fake_ssm.py"), f"--port={self.port}"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == self.url

    def down(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def behave(self, *, refuse: str | None = None, **values: str) -> None:
        body = json.dumps({"values": {f"/{name}": value for name, value in values.items()}, "refuse": refuse})
        request = urllib.request.Request(f"{self.url}/behaviour", body.encode(), method="PUT")
        with urllib.request.urlopen(request, timeout=PATIENCE):
            pass

    def calls(self) -> list[list[Any]]:
        with urllib.request.urlopen(f"{self.url}/calls", timeout=PATIENCE) as answer:
            found: list[list[Any]] = json.load(answer)
            return found

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_SSM": self.url,
            "PATH": os.environ["PATH"],
        }


@pytest.fixture
def ssm_process() -> Iterator[Ssm]:
    process = Ssm()
    yield process
    process.down()


def mount(path: Path, files: dict[str, str]) -> None:
    """Writes a generation of a ConfigMap as the kubelet does: a directory of its own, then one switch."""
    path.mkdir(exist_ok=True)
    number = sum(1 for name in os.listdir(path) if name.startswith("..2026"))
    generation = path / f"..2026_{number}"
    generation.mkdir()
    for name, text in files.items():
        (generation / name).write_text(text)
    (path / "..data_tmp").symlink_to(generation.name)
    (path / "..data_tmp").rename(path / "..data")
    for name in files:
        if not (path / name).is_symlink():
            (path / name).symlink_to(f"..data/{name}")
    for name in os.listdir(path):
        if not name.startswith("..") and name not in files:
            (path / name).unlink()


SETTINGS = Settings(refresh=0.5, rescan=600.0, timeout=PATIENCE, plugins=PluginSettings(call_timeout=20.0))


async def test_values_and_templates_of_a_mount_are_followed(ssm_process: Ssm, tmp_path: Path) -> None:
    ssm_process.up()
    ssm_process.behave(password="one")
    templates, out = tmp_path / "templates", tmp_path / "out"
    mount(templates, {"a.conf": "p=AWSPARAMSTR:///password\n", "b.conf": "b=AWSPARAMSTR:///password\n"})
    async with running((templates,), out, SETTINGS, environment=ssm_process.environment) as run:
        await until(run.sidecar.started.is_set)
        assert content(out / "a.conf") == "p=one\n"
        ssm_process.behave(password="two")
        await until(lambda: content(out / "a.conf") == "p=two\n" and content(out / "b.conf") == "b=two\n")
        mount(templates, {"a.conf": "new=AWSPARAMSTR:///password\n", "c.conf": "c\n"})
        await until(lambda: content(out / "a.conf") == "new=two\n" and content(out / "c.conf") == "c\n")
        await until(lambda: state(run, "b.conf") is FileState.REMOVED)
        assert content(out / "b.conf") == "b=two\n"
        assert run.published["a.conf"] == 3
        assert run.vitals.overdue() == ()
        assert "one" not in run.lines.getvalue().split("=")


@pytest.mark.fault(59, "a store that flaps: the last good file stays, there is no storm, and it recovers by itself")
async def test_a_store_that_is_down_at_the_start_and_again_later(ssm_process: Ssm, tmp_path: Path) -> None:
    templates, out = tmp_path / "templates", tmp_path / "out"
    templates.mkdir()
    (templates / "f").write_text("p=AWSPARAMSTR:///password\n")
    (templates / "plain").write_text("no token\n")
    async with running((templates,), out, SETTINGS, environment=ssm_process.environment) as run:
        began = time.monotonic()
        await until(lambda: content(out / "plain") == "no token\n")
        await until(lambda: state(run, "f") is FileState.FAILED)
        assert not run.sidecar.status().is_ready
        assert {error.code for error in run.sidecar.errors()} == {"backend-unavailable"}
        ssm_process.up()
        await until(lambda: content(out / "f") == "p=value of /password\n")
        for turn in range(3):
            ssm_process.down()
            await until(lambda: state(run, "f") is FileState.STALE)
            assert content(out / "f") is not None
            ssm_process.up()
            ssm_process.behave(password=f"turn {turn}")
            await until(lambda turn=turn: content(out / "f") == f"p=turn {turn}\n")
            await until(lambda: state(run, "f") is FileState.READY)
        assert len(ssm_process.calls()) < 50 + 4 * (time.monotonic() - began)  # two refreshes a second are meant
        assert run.sidecar.status().is_ready


@pytest.mark.fault(56, "throttled and denied on a refresh: the file stays and is marked; it goes on by itself")
@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException"])
async def test_a_store_that_refuses_for_a_while(ssm_process: Ssm, tmp_path: Path, code: str) -> None:
    ssm_process.up()
    templates, out = tmp_path / "templates", tmp_path / "out"
    templates.mkdir()
    (templates / "f").write_text("p=AWSPARAMSTR:///password\n")
    settings = Settings(refresh=0.5, rescan=600.0, timeout=4.0)
    async with running((templates,), out, settings, environment=ssm_process.environment) as run:
        await until(lambda: content(out / "f") == "p=value of /password\n")
        ssm_process.behave(refuse=code)
        await until(lambda: state(run, "f") is FileState.STALE)
        assert content(out / "f") == "p=value of /password\n"
        ssm_process.behave(password="later")
        summary = await run.sidecar.refreshed("refresh")
        assert summary.errors == ()
        assert content(out / "f") == "p=later\n"


@pytest.mark.fault(42, "a mount that is switched all the time: outputs are of one generation, and the last one wins")
async def test_a_mount_that_is_switched_all_the_time(tmp_path: Path) -> None:
    templates, out = tmp_path / "templates", tmp_path / "out"
    names = [f"f{number}" for number in range(5)]
    mount(templates, dict.fromkeys(names, "0"))
    async with running((templates,), out, Settings(rescan=600.0)) as run:
        await until(run.sidecar.started.is_set)
        for turn in range(100):
            mount(templates, dict.fromkeys(names, str(turn)))
            await asyncio.sleep(0.002)
        await until(lambda: [content(out / name) for name in names] == ["99"] * 5)


@pytest.mark.fault(47, "a template that changes all the time: renders are grouped, and the last state wins")
async def test_a_storm_of_template_changes_is_grouped(tmp_path: Path) -> None:
    templates, out = tmp_path / "templates", tmp_path / "out"
    templates.mkdir()
    template = templates / "f"
    template.write_text("start")
    async with running((templates,), out, Settings(rescan=600.0, debounce_min=0.2, debounce_max=1.0)) as run:
        await until(run.sidecar.started.is_set)
        for turn in range(1000):
            template.write_text(f"turn {turn}")
            await asyncio.sleep(0.001)
        await until(lambda: content(out / "f") == "turn 999")
        assert run.published["f"] <= 60  # one at most for each second, on a machine that takes a minute


async def test_a_settings_file_is_taken_when_it_is_valid(tmp_path: Path) -> None:
    templates, out, config = tmp_path / "templates", tmp_path / "out", tmp_path / "config"
    templates.mkdir()
    (templates / "f").write_text("x")
    text = "apiVersion: config-injector.io/v1alpha1\nkind: Injector\nmode: '{}'\n"
    mount(config, {"injector.yaml": text.format("0600")})
    path = config / "injector.yaml"

    def settings() -> Settings:
        return load(path=path, environ={}, flags={})

    async with running((templates,), out, settings(), settings_path=path, load_settings=settings) as run:
        await until(run.sidecar.started.is_set)
        assert (out / "f").stat().st_mode & 0o777 == 0o600
        mount(config, {"injector.yaml": text.format("nonsense")})
        await until(lambda: run.sidecar.status().settings_error)
        assert run.sidecar.status().is_ready
        mount(config, {"injector.yaml": text.format("0640")})
        await until(lambda: (out / "f").stat().st_mode & 0o777 == 0o640)
        assert run.sidecar.status().settings_error is None
