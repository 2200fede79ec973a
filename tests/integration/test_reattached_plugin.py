"""Plugins that were started by hand and are used by reattachment: they are asked, and neither started nor ended."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE

from injector import errors
from injector.app import build
from injector.backends.goplugin.environment import COOKIE_NAME, COOKIE_VALUE
from injector.model.policy import AutoMtls, Verify
from injector.model.references import Reference, Value
from injector.settings.options import REATTACH_VARIABLE
from injector.settings.schema import PluginSettings, Settings
from injector.telemetry.logs import Level, Log

SDK_PLUGIN = """
from injector.sdk.serving import serve
from injector.sdk.store import LookupStore

class Store(LookupStore):
    def look_up(self, reference):
        print("asked for a value")
        return "sdk value of " + reference.path

serve(Store(), name="demo")
"""


def line_from(descriptor: int) -> str:
    text = b""
    while not text.endswith(b"\n"):
        assert select.select([descriptor], [], [], 30)[0], text
        text += os.read(descriptor, 1)
    return text.decode().strip()


@pytest.fixture
def by_hand(tmp_path: Path):
    """`by_hand(command, versions)`: starts a plugin on a terminal as a person would, and gives what its line says."""
    with contextlib.ExitStack() as stack:

        def start(*command: str, versions: str = "") -> dict[str, object]:
            ours, terminal = pty.openpty()
            stack.callback(os.close, ours)
            environment = os.environ | {COOKIE_NAME: COOKIE_VALUE, "TMPDIR": "/tmp"}
            environment |= {"PLUGIN_PROTOCOL_VERSIONS": versions} if versions else {}
            errors_of_it = stack.enter_context((tmp_path / "stderr").open("wb"))
            process = subprocess.Popen(command, env=environment, stdout=terminal, stderr=errors_of_it)
            os.close(terminal)
            stack.callback(process.wait, 30)
            stack.callback(process.kill)
            _, version, network, address, *_ = line_from(ours).split("|")
            start.processes.append(process)
            return {"network": network, "address": address, "pid": process.pid, "protocol": int(version)}

        start.processes = []
        yield start
        for process in start.processes:
            process.terminate()


@pytest.fixture
def plugins(request, by_hand):
    """The plugin of the test's parameter, started by hand."""
    if request.param == "go":
        return by_hand(str(request.getfixturevalue("demostore")))
    return by_hand(sys.executable, "-c", SDK_PLUGIN, versions="1,2" if request.param == "sdk-2" else "")


KINDS = [pytest.param("go", marks=pytest.mark.go), "sdk-1", "sdk-2"]


def environment_for(said: dict[str, object], socket_base: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "TMPDIR": str(socket_base), REATTACH_VARIABLE: json.dumps({"Demo": said})}


async def answer(said, socket_base, settings: Settings | None = None):
    registry = build.registry(settings or Settings(), environment_for(said, socket_base), Log(Level.OFF))
    try:
        assert "DEMO" in registry.prefixes(frozenset({"DEMO"}))
        backend = await registry.open("DEMO")
        (found,) = [pair async for pair in backend.fetch([Reference("DEMO", "/a")], timeout=PATIENCE)]
        return found[1]
    finally:
        await registry.close()


@pytest.mark.parametrize("plugins", KINDS, indirect=True)
async def test_it_is_rendered_through_twice_and_goes_on(one_loop, by_hand, plugins, socket_base, tmp_path) -> None:
    template = tmp_path / "a.conf"
    template.write_text("a=DEMO:///a\n")
    command = [str(Path(sys.executable).with_name("injector")), "render", str(template)]
    (process,) = by_hand.processes
    for _ in range(2):
        ours = environment_for(plugins, socket_base)
        run = subprocess.run(command, env=ours, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert run.returncode == 0, run.stderr
        assert run.stdout.strip() in {"a=demo value of /a", "a=sdk value of /a"}
        assert process.poll() is None
    assert Path(str(plugins["address"])).exists()
    assert isinstance(await answer(plugins, socket_base), Value)
    assert process.poll() is None


@pytest.mark.parametrize("plugins", ["sdk-1"], indirect=True)
async def test_one_that_ended_is_not_there(one_loop, by_hand, plugins, socket_base) -> None:
    (process,) = by_hand.processes
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE)
    with pytest.raises(errors.PluginNotFound, match=f"process {process.pid} at .* its process cannot be found"):
        await answer(plugins, socket_base)
    with pytest.raises(errors.PluginNotFound, match="nobody listens at its address"):
        await answer(plugins | {"pid": os.getpid()}, socket_base)


@pytest.mark.parametrize("plugins", ["sdk-1"], indirect=True)
async def test_one_that_ends_between_two_calls_is_reported(one_loop, by_hand, plugins, socket_base) -> None:
    (process,) = by_hand.processes
    registry = build.registry(Settings(), environment_for(plugins, socket_base), Log(Level.OFF))
    try:
        backend = await registry.open("DEMO")
        process.kill()
        process.wait(PATIENCE)
        outcome: object = None
        while not isinstance(outcome, errors.PluginNotFound):  # the first may still find the connection
            try:
                ((_, outcome),) = [pair async for pair in backend.fetch([Reference("DEMO", "/a")], timeout=PATIENCE)]
            except errors.PluginNotFound as error:
                outcome = error
            assert isinstance(outcome, (errors.PluginCrashed, errors.PluginNotFound))
        assert "its process cannot be found" in outcome.message
    finally:
        await registry.close()


def listed(tmp_path: Path, plugin_path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    said = {"network": "unix", "address": "/tmp/demo-linux-amd64", "pid": 4711}
    command = [str(Path(sys.executable).with_name("injector")), "plugin", "list", "--plugin-path", str(plugin_path)]
    return subprocess.run(
        [*command, *arguments],
        env=environment_for(said, tmp_path) | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_the_list_shows_it_before_the_installed_one_of_its_name(install, tmp_path) -> None:
    plugin_path = Path(install("demo", "#!/bin/sh\n").location).parents[1]
    run = listed(tmp_path, plugin_path, "--format", "json")
    assert run.returncode == 0, run.stderr
    first, second = (entry for entry in json.loads(run.stdout)["plugins"] if entry["prefix"] == "DEMO")
    assert first == {
        "prefix": "DEMO",
        "kind": "goplugin",
        "state": "used",
        "location": "process 4711 at /tmp/demo-linux-amd64",
        "origin": REATTACH_VARIABLE,
    }
    assert (second["state"], second["reason"]) == ("shadowed", f"{first['location']} comes first")


def test_the_list_says_why_it_is_refused(tmp_path) -> None:
    run = listed(tmp_path, tmp_path, INJECTOR_AUTO_MTLS="require")
    assert run.returncode == 0, run.stderr
    assert f"refused   process 4711 at /tmp/demo-linux-amd64 ({REATTACH_VARIABLE})\n" in run.stdout
    assert "cannot be reattached: AutoMTLS is required, and takes a start" in run.stdout


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (PluginSettings(verify=Verify.REQUIRED), "a lock file has to vouch for it"),
        (PluginSettings(auto_mtls=AutoMtls.REQUIRE), "AutoMTLS is required"),
        (PluginSettings(multiplex=True), "multiplexing is required"),
    ],
)
async def test_what_takes_a_start_is_refused(one_loop, socket_base, asked, reason) -> None:
    said = {"network": "unix", "address": "/nowhere", "pid": os.getpid()}
    with pytest.raises(errors.PluginRefused, match=f"cannot be reattached: {reason}"):
        await answer(said, socket_base, Settings(plugins=asked))


@pytest.mark.parametrize("plugins", ["sdk-1"], indirect=True)
async def test_requiring_tls_of_others_only_lets_it_be_used(one_loop, plugins, socket_base) -> None:
    asked = PluginSettings(auto_mtls=AutoMtls.REQUIRE, auto_mtls_for={"demo": AutoMtls.OFF})
    assert isinstance(await answer(plugins, socket_base, Settings(plugins=asked)), Value)
