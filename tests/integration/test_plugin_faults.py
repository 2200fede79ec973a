"""Rows of the fault table (docs/faults.md) about plugins that need a host with several plugins, or one that lasts."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from injector import errors
from injector.app import build
from injector.backends.executables import this_platform
from injector.model.policy import Verify
from injector.model.references import Reference, Value
from injector.settings.schema import PluginSettings, Settings
from injector.telemetry.logs import Level, Log

INJECTOR = Path(sys.executable).with_name("injector")
SUFFIX = this_platform().file_suffix
COUNTING = """
import os
from injector.sdk import LookupStore, serve

class Store(LookupStore):
    def look_up(self, reference):
        with open(os.path.join(os.environ["FAULT_FOLDER"], "asked"), "a") as file:
            file.write(reference.path + "\\n")
        return "value of " + reference.path

serve(Store(), name="counting")
"""
WAITING = """
import os, pathlib, sys, time
from injector.sdk import LookupStore, serve

class Store(LookupStore):
    def look_up(self, reference):
        return "value of " + reference.path

# It goes on when all of them have been started: one after the other would wait for ever.
folder = pathlib.Path(os.environ["FAULT_FOLDER"])
(folder / str(os.getpid())).touch()
while len(list(folder.iterdir())) < 8:
    time.sleep(0.02)
serve(Store(), name="waiting")
"""
# Its server compresses: on the wire the answer has a thousandth of its size.
BOMB = """
import grpc
from injector.sdk import LookupStore, serve

plain = grpc.server
grpc.server = lambda *args, **options: plain(*args, compression=grpc.Compression.Gzip, **options)

class Store(LookupStore):
    def look_up(self, reference):
        return "x" * int(reference.path)

serve(Store(), name="bomb")
"""


def put(folder: Path, name: str, source: str) -> Path:
    path = folder / name / f"{name}-{SUFFIX}"
    path.parent.mkdir(parents=True, mode=0o755)
    path.write_text(f"#!{sys.executable}\n{source}")
    path.chmod(0o755)
    return path


@pytest.fixture
def render(tmp_path: Path, socket_base: Path):
    """`render(template, *arguments, NAME="value")`: the command with the plugins of tmp_path/plugins."""

    def run(template: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "folder").mkdir(exist_ok=True)
        base = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(socket_base),
            "INJECTOR_PASS_ENVIRONMENT": "FAULT_FOLDER",
            "FAULT_FOLDER": str(tmp_path / "folder"),
        }
        command = [INJECTOR, "render", "--plugin-path", tmp_path / "plugins", *(arguments or ["-"])]
        return subprocess.run(
            command, input=template, env=base | environment, check=False, capture_output=True, text=True, timeout=110
        )

    return run


@pytest.mark.fault(4, "they start side by side: the wait is that for the slowest")
def test_eight_slow_plugins_are_started_side_by_side(render, tmp_path) -> None:
    names = [f"slow{number}" for number in range(8)]
    for name in names:
        put(tmp_path / "plugins", name, WAITING)
    done = render("".join(f"{name.upper()}:///a\n" for name in names))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "value of /a\n" * 8


@pytest.mark.timeout(400)  # 200 MB are made and packed, on a busy machine
@pytest.mark.fault(10, "compressed, too: an error of that token, and memory stays bounded")
def test_a_compressed_answer_that_unfolds_to_200_megabytes_is_an_error_and_takes_no_memory(render, tmp_path) -> None:
    put(tmp_path / "plugins", "bomb", BOMB)
    assert render("BOMB://1000\n").stdout == "x" * 1000 + "\n"
    command = [INJECTOR, "render", "--timeout", "200s", "--plugin-path", tmp_path / "plugins", tmp_path / "template"]
    (tmp_path / "template").write_text("BOMB://200000000\n")
    said, patient = tmp_path / "said", os.environ | {"INJECTOR_PLUGIN_CALL_TIMEOUT": "200s"}
    with said.open("wb") as stderr, subprocess.Popen(command, env=patient, stdout=stderr, stderr=stderr) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, peak_of(process.pid))
            time.sleep(0.01)
    assert process.returncode == 7, said.read_text()
    assert "its answer is larger than the host takes" in said.read_text()
    assert 0 < peak < 200 * 1024, "KiB"


def peak_of(pid: int) -> int:
    """The most memory that a process has had, in KiB; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


@pytest.mark.fault(53, "one fetch")
def test_one_token_ten_thousand_times_in_a_hundred_files_is_asked_for_once(render, tmp_path) -> None:
    put(tmp_path / "plugins", "counting", COUNTING)
    (tmp_path / "in").mkdir()
    for number in range(100):
        (tmp_path / "in" / f"{number}.txt").write_text("COUNTING:///a\n" * 100)
    done = render("", tmp_path / "in", "--output-dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {path.read_text() for path in (tmp_path / "out").iterdir()} == {"value of /a\n" * 100}
    assert len(list((tmp_path / "out").iterdir())) == 100
    assert (tmp_path / "folder" / "asked").read_text() == "/a\n"


@pytest.mark.go
@pytest.mark.fault(24, "plugins are reached directly")
@pytest.mark.parametrize("network", ["unix", "tcp"])
def test_a_proxy_in_the_environment_is_not_asked_for_plugins(render, tmp_path, faultplugin, network: str) -> None:
    path = tmp_path / "plugins" / "fault" / f"fault-{SUFFIX}"
    path.parent.mkdir(parents=True, mode=0o755)
    path.symlink_to(faultplugin)
    dead = "http://127.0.0.1:1"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY"), dead)
    own = {
        "INJECTOR_PASS_ENVIRONMENT": "FAULT_NETWORK,http_proxy,https_proxy,grpc_proxy,HTTP_PROXY,HTTPS_PROXY",
        "FAULT_NETWORK": network,
    } | proxies
    done = render("{{ FAULT://a }}\n", **own)
    assert (done.returncode, done.stdout) == (0, "a->\n"), done.stderr


async def ask(backend, path: str) -> object:
    try:
        ((_, outcome),) = [pair async for pair in backend.fetch([Reference("DEMO", path)], timeout=60)]
    except errors.InjectorError as error:
        return error
    return outcome.data.reveal().decode() if isinstance(outcome, Value) else outcome


@pytest.mark.go
@pytest.mark.fault(16, "the running one goes on; the next start holds the new file to the lock file")
async def test_a_plugin_that_is_replaced_while_it_runs_goes_on_and_is_checked_at_its_restart(
    one_loop, demostore, tmp_path, socket_base
) -> None:
    path = tmp_path / "plugins" / "demo" / f"demo-{SUFFIX}"
    path.parent.mkdir(parents=True, mode=0o755)
    shutil.copy(demostore, path)
    path.chmod(0o755)
    lock_file = tmp_path / "lock"
    lock = ["plugin", "lock", "--plugin-path", tmp_path / "plugins", "--plugin-lock-file", lock_file]
    subprocess.run([INJECTOR, *lock], check=True, capture_output=True, timeout=60)
    settings = Settings(
        plugin_path=(tmp_path / "plugins",), plugins=PluginSettings(verify=Verify.REQUIRED, lock_file=lock_file)
    )
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(socket_base)}
    registry = build.registry(settings, environment, Log(Level.OFF), lasting=True)
    try:
        backend = await registry.open("DEMO")
        assert await ask(backend, "/a") == "demo value of /a"
        (tmp_path / "new").write_text(f"#!/bin/sh\ntouch {tmp_path / 'marker'}\n")
        (tmp_path / "new").chmod(0o755)
        (tmp_path / "new").rename(path)
        assert await ask(backend, "/b") == "demo value of /b"
        (process,) = [one for one in psutil.Process().children() if f"demo-{SUFFIX}" in " ".join(one.cmdline())]
        process.kill()
        deadline = time.monotonic() + 60
        while "is not the expected one" not in str(error := await ask(backend, "/c")):
            assert isinstance(error, errors.PluginCrashed), error
            assert time.monotonic() < deadline
        assert isinstance(error, errors.PluginError)
        assert hashlib.sha256(path.read_bytes()).hexdigest()[:12] in error.message
        assert not (tmp_path / "marker").exists()
    finally:
        await registry.close()
