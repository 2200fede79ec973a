"""A plugin's life with real Go plugins: crashes, hangs, floods, and what each costs the others."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from waiting import PATIENCE, until

from injector import errors
from injector.app import build
from injector.backends.discovery import SearchPath, SearchPlace
from injector.backends.executables import this_platform
from injector.backends.goplugin.host import GoPluginBackend
from injector.backends.goplugin.supervision import RestartPolicy
from injector.backends.goplugin.supervisor import SupervisedPlugin
from injector.backends.plugin_status import PluginState
from injector.backends.registry import HostOptions, Registry
from injector.model.references import Reference, Value
from injector.settings.schema import PluginSettings, Settings
from injector.telemetry.logs import Level, Log

pytestmark = pytest.mark.go

INJECTOR = Path(sys.executable).with_name("injector")
ROOT = Path(__file__).resolve().parents[2]


async def ask(backend, path: str, *, timeout: float = PATIENCE):
    ((_, outcome),) = [answer async for answer in backend.fetch([Reference("FAULT", path)], timeout=timeout)]
    return outcome.data.reveal().decode() if isinstance(outcome, Value) else outcome


@pytest.fixture
async def supervise(start_backend, install, faultplugin):
    """`supervise(FAULT_X="1", policy=..., log=...)`: a supervised fault plugin, closed at the end of the test."""
    plugins: list[SupervisedPlugin] = []

    def make(
        *, policy: RestartPolicy | None = None, name: str = "fault", log: Log | None = None, **environment: str
    ) -> SupervisedPlugin:
        candidate = install(name, faultplugin)
        plugin = SupervisedPlugin(
            str(candidate),
            lambda: start_backend(candidate, log=log, stop_grace=0.5, **environment),
            policy=policy or RestartPolicy(),
            log=log or Log(Level.OFF),
        )
        plugins.append(plugin)
        return plugin

    yield make
    for plugin in plugins:
        await plugin.close()


# ---------------------------------------------------------------------------------------------------------- restarts


async def test_a_killed_plugin_answers_the_next_call_with_a_new_process(supervise) -> None:
    plugin = supervise()
    assert await ask(plugin, "a") == "a->"
    first = plugin.instance.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: plugin.instance is None)
    assert plugin.state is PluginState.LOST
    assert await ask(plugin, "b") == "b->"
    assert plugin.instance.pid != first
    assert not psutil.pid_exists(first)
    assert "ended between two calls: killed by signal SIGKILL" in (plugin.status().last_error or "")


@pytest.mark.fault(1, "one restart, however many calls were open")
async def test_calls_in_flight_are_lost_with_their_cause_and_counted_as_one_crash(supervise) -> None:
    plugin = supervise()
    waiting = [asyncio.ensure_future(ask(plugin, "sleep:60000")) for _ in range(20)]
    await ask(plugin, "exit:3")
    for outcome in await asyncio.gather(*waiting):
        assert isinstance(outcome, errors.PluginCrashed)
        assert "exit code 3" in outcome.message
    assert await ask(plugin, "a") == "a->"
    assert plugin.status().crashes == 1


async def test_a_lost_connection_is_a_lost_plugin_although_the_process_lives(supervise) -> None:
    plugin = supervise(FAULT_NETWORK="tcp", FAULT_DEAF="1")
    await ask(plugin, "a")
    first = plugin.instance
    await first._channel.shut_down(within=PATIENCE)
    await until(lambda: plugin.instance is None)
    assert psutil.Process(first.pid).is_running()
    assert "dropped its connection" in first.loss
    assert await ask(plugin, "b") == "b->"
    assert not psutil.pid_exists(first.pid)


async def test_configuration_is_given_to_every_new_process_before_its_first_call(supervise) -> None:
    plugin = supervise()
    configured: list[tuple[int, object]] = []

    async def configure(instance: GoPluginBackend) -> None:
        configured.append((instance.pid, await ask(instance, "as configured")))

    plugin.configure.append(configure)
    pids = []
    for _ in range(3):
        assert await ask(plugin, "a") == "a->"
        pids.append(plugin.instance.pid)
        assert configured[-1] == (pids[-1], "as configured->")
        await ask(plugin, "exit:1")
    assert [pid for pid, _ in configured] == pids
    assert len(set(pids)) == 3


@pytest.mark.fault(2, "a plugin that misses its health checks is killed and started anew")
async def test_a_hanging_plugin_is_killed_and_replaced_and_its_calls_say_so(supervise) -> None:
    policy = RestartPolicy(health_interval=0.1, health_timeout=1.5)
    plugin = supervise(policy=policy)
    await ask(plugin, "a")
    first = psutil.Process(plugin.instance.pid)
    waiting = asyncio.ensure_future(ask(plugin, "sleep:60000"))
    await ask(plugin, "the other call is under way")
    first.suspend()
    outcome = await waiting
    assert isinstance(outcome, errors.PluginCrashed)
    assert "did not pass 2 health checks of 1.5 s, and was killed" in outcome.message
    await until(lambda: plugin.state is PluginState.RUNNING and plugin.instance.pid != first.pid)
    assert not first.is_running()
    assert await ask(plugin, "b") == "b->"


async def test_a_slow_call_is_no_hang(supervise) -> None:
    plugin = supervise(policy=RestartPolicy(health_interval=0.05, health_timeout=PATIENCE))
    assert await ask(plugin, "sleep:1000") == "sleep:1000->"[:-2]
    assert plugin.status().crashes == 0


# --------------------------------------------------------------------------------------------------------- isolation


async def latencies(plugin: SupervisedPlugin, seconds: float) -> list[float]:
    """Of one call after the other for so long."""
    found: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.perf_counter()
        assert await ask(plugin, "a") == "a->"
        found.append(time.perf_counter() - started)
    return sorted(found)


@pytest.mark.fault(6, "another plugin's calls are as fast as before")
async def test_a_flooding_plugin_leaves_another_ones_calls_their_latency(supervise) -> None:
    quiet, loud = supervise(name="quiet"), supervise(name="loud", log=Log(Level.DEBUG, stream=io.StringIO()))
    await ask(quiet, "a")
    alone = await latencies(quiet, 1)
    await ask(loud, "flood")  # standard output, standard error and GRPCStdio, for ever
    beside = await latencies(quiet, 3)
    # Of two cores the flood takes what it gets: the bound is for starvation, not for speed.
    assert beside[len(beside) // 2] < 40 * alone[len(alone) // 2] + 0.5
    assert beside[len(beside) * 99 // 100] < 20
    assert await ask(loud, "b") == "b->"


async def test_a_crashing_and_a_hanging_plugin_cost_another_one_nothing(supervise) -> None:
    quiet, crashing, hanging = (supervise(name=name) for name in ("quiet", "crashing", "hanging"))
    await asyncio.gather(*(ask(plugin, "a") for plugin in (quiet, crashing, hanging)))
    psutil.Process(hanging.instance.pid).suspend()
    stuck = asyncio.ensure_future(ask(hanging, "sleep:60000", timeout=2))  # a stop may come late, and this waits

    async def crash() -> None:
        for _ in range(3):
            assert isinstance(await ask(crashing, "exit:1"), errors.PluginCrashed)

    _, found = await asyncio.gather(crash(), latencies(quiet, 1.5))
    assert found[len(found) * 95 // 100] < 20
    assert quiet.status().crashes == 0
    outcome = await stuck
    assert isinstance(outcome, errors.CallTimeout), repr(outcome)


# ----------------------------------------------------------------------------------------------------- what it writes


async def test_what_a_plugin_prints_is_in_the_log_once_at_info_under_its_name(supervise) -> None:
    stream = io.StringIO()
    plugin = supervise(log=Log(Level.INFO, as_json=True, stream=stream))
    await ask(plugin, "print:loaded 3 keys")
    await until(lambda: stream.getvalue().count("loaded 3 keys") == 2)
    await plugin.close()
    entries = [json.loads(line) for line in stream.getvalue().splitlines() if "loaded" in line]
    assert sorted((e["level"], e["plugin"], e["stream"], e["message"]) for e in entries) == [
        ("info", "fault", "stderr", "loaded 3 keys"),
        ("info", "fault", "stdout", "loaded 3 keys"),
    ]


async def test_each_level_of_hclog_is_the_same_level_here(supervise) -> None:
    stream = io.StringIO()
    plugin = supervise(log=Log(Level.TRACE, as_json=True, stream=stream))
    for level in ("trace", "debug", "info", "warn", "error"):
        await ask(plugin, f"hclog:{level}")
    await until(lambda: "at level error" in stream.getvalue())
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    found = {e["message"]: e["level"] for e in entries if str(e.get("message")).startswith("at level ")}
    assert found == {
        "at level trace": "trace",
        "at level debug": "debug",
        "at level info": "info",
        "at level warn": "warning",
        "at level error": "error",
    }


# ---------------------------------------------------------------------------------------------- registry and command


@pytest.fixture
def plugin_path(install, faultplugin, tmp_path: Path) -> Path:
    install("fault", faultplugin)
    return tmp_path / "plugins"


async def test_the_registry_restarts_plugins_and_tells_how_they_fare(one_loop, plugin_path, socket_base) -> None:
    search = SearchPath((SearchPlace(plugin_path, "plugin path"),), this_platform())
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(socket_base)}
    registry = Registry(search, HostOptions(), environment=environment, log=Log(Level.OFF))
    try:
        assert registry.plugins() == ()
        backend, again = await asyncio.gather(registry.open("FAULT"), registry.open("FAULT"))
        assert backend is again
        assert await ask(backend, "a") == "a->"
        for _ in range(4):
            assert isinstance(await ask(backend, "exit:3"), errors.PluginCrashed)
        with pytest.raises(errors.PluginKeepsCrashing, match="crashed 4 times; it is not restarted any more"):
            await ask(backend, "a")
        (status,) = registry.plugins()
        assert (status.state, status.starts, status.crashes) == (PluginState.GIVEN_UP, 4, 4)
    finally:
        await registry.close()


async def test_a_lasting_registry_asks_plugins_whether_they_are_well(one_loop, plugin_path, socket_base) -> None:
    settings = Settings(plugin_path=(plugin_path,), plugins=PluginSettings(health_interval=0.1))
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(socket_base)}
    registry = build.registry(settings, environment, Log(Level.OFF), lasting=True)
    try:
        backend = await registry.open("FAULT")
        os.kill(backend.instance.pid, signal.SIGKILL)
        await until(lambda: registry.plugins()[0].starts == 2)
        assert registry.plugins()[0].state is PluginState.RUNNING
    finally:
        await registry.close()


async def test_a_plugin_that_did_not_start_is_tried_again_at_the_next_opening(
    one_loop, tmp_path, install, faultplugin, socket_base
) -> None:
    candidate = install("fault", "#!/bin/sh\nexit 3\n")
    search = SearchPath((SearchPlace(tmp_path / "plugins", "plugin path"),), this_platform())
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(socket_base)}
    registry = Registry(search, HostOptions(), environment=environment, log=Log(Level.OFF))
    try:
        with pytest.raises(errors.PluginStartFailed):
            await registry.open("FAULT")
        Path(candidate.location).unlink()
        Path(candidate.location).symlink_to(faultplugin)
        assert await ask(await registry.open("FAULT"), "a") == "a->"
    finally:
        await registry.close()


@pytest.fixture
def render(plugin_path, tmp_path: Path, socket_base: Path):
    """`render(template text, *arguments)`: the command with the fault plugin; the seconds are in `seconds`."""

    def run(template: str, *arguments: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], float]:
        base = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(socket_base)}
        command = [INJECTOR, "render", "-", "--plugin-path", plugin_path, *arguments]
        own = {"INJECTOR_PASS_ENVIRONMENT": "FAULT_TRACE"} | environment
        started = time.monotonic()
        done = subprocess.run(
            command, input=template, env=base | own, check=False, capture_output=True, text=True, timeout=100
        )
        return done, time.monotonic() - started

    return run


@pytest.mark.fault(1, "a warning, and the whole result: lost calls are made once more")
def test_a_crash_in_the_middle_of_a_render_is_healed(render, tmp_path) -> None:
    template = "".join(f"{{{{ FAULT://crashonce:3[n={n}] }}}} FAULT://other[n={n}]\n" for n in range(50))
    done, seconds = render(template, FAULT_TRACE=str(tmp_path / "crashed"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(f"crashonce:3->n={n} other->n={n}\n" for n in range(50))
    assert done.stderr.count("plugin lost") == 1
    assert (tmp_path / "crashed").exists()
    assert seconds < PATIENCE  # and not at the deadline of the render, or never


@pytest.mark.fault(21, "exit code 7 soon, with the number of crashes")
def test_a_plugin_that_always_crashes_is_the_plugins_error_soon_and_says_how_often(render) -> None:
    done, seconds = render("{{ FAULT://exit:3 }}\n")
    assert done.returncode == 7
    assert "exit code 3" in done.stderr
    assert "crash 2 of this plugin" in done.stderr
    assert done.stdout == ""
    assert seconds < PATIENCE  # and not at the deadline of the render, or never


@pytest.mark.fault(21, "a few restarts in all, whatever the number of tokens")
def test_a_thousand_tokens_of_a_plugin_that_always_crashes_end_soon_as_well(render) -> None:
    done, seconds = render("".join(f"{{{{ FAULT://exit:3[n={n}] }}}}\n" for n in range(1000)))
    assert done.returncode == 7
    assert "crashed 4 times; it is not restarted any more" in done.stderr
    assert seconds < PATIENCE


# -------------------------------------------------------------------------------------------------------------- soak


@pytest.mark.fault(74, "plugins that are killed and started again under load leave nothing behind, and nothing hangs")
def test_two_thousand_calls_and_twenty_kills_leave_the_host_as_it_was(demostore) -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--plugin", demostore, "--calls", "2000", "--restarts", "20"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok: nothing grew" in done.stdout
    assert done.stderr == ""
