"""Our host with real Go plugins."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from waiting import PATIENCE, until

from injector import errors
from injector.backends.contract import Limits
from injector.errors import InjectorError
from injector.model.references import Reference, Value
from injector.telemetry.logs import Level, Log

pytestmark = pytest.mark.go


async def ask(backend, path: str, metadata: str = "", *, timeout: float = PATIENCE):
    answers = [answer async for answer in backend.fetch([Reference("FAULT", path, metadata)], timeout=timeout)]
    assert [reference for reference, _ in answers] == [Reference("FAULT", path, metadata)]
    return answers[0][1]


async def value(backend, path: str, metadata: str = "") -> str:
    outcome = await ask(backend, path, metadata)
    assert isinstance(outcome, Value), outcome
    return outcome.data.reveal().decode()


@pytest.fixture
async def fault(start_backend, install, faultplugin):
    return await start_backend(install("fault", faultplugin))


# ------------------------------------------------------------------------------------------------------- the example


@pytest.mark.seed("002:3", "002:6")
async def test_the_example_answers_from_its_file(start_backend, install, demostore, tmp_path) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps({"/app/db": "sécret", "/app/object": {"user": "u"}}))
    backend = await start_backend(install("demostore", demostore), DEMOSTORE_FILE=str(file))
    assert await value(backend, "/app/db") == "sécret"
    assert json.loads(await value(backend, "/app/object")) == {"user": "u"}
    assert isinstance(await ask(backend, "/app/none"), errors.ValueNotFound)
    file.write_text("no JSON")
    assert isinstance(await ask(backend, "/app/db"), errors.InvalidReference)
    file.unlink()
    assert isinstance(await ask(backend, "/app/db"), errors.BackendUnavailable)


async def test_the_example_without_a_file_has_a_value_for_everything(start_backend, install, demostore) -> None:
    backend = await start_backend(install("demostore", demostore))
    assert await value(backend, "/app/db") == "demo value of /app/db"


# -------------------------------------------------------------------------------------------------------------- calls


@pytest.mark.parametrize("path", ["/a/b", "", "a b%20|x[y]", "ünïcødé/☃/\N{GRINNING FACE}", "trailing/ "])
async def test_path_and_metadata_arrive_exactly_as_they_are(fault, path: str) -> None:
    assert await value(fault, path, "k=v,ä= x ") == f"{path}->k=v,ä= x "


async def test_name_and_limits_tell_what_it_is(fault, tmp_path) -> None:
    assert fault.name == f"plugin fault ({next(tmp_path.glob('plugins/fault/*'))})"
    assert fault.limits == Limits(largest_batch=1, most_in_flight=64)


async def test_a_hundred_calls_at_a_time_get_their_own_answers(fault) -> None:
    answers = await asyncio.gather(*(value(fault, f"path/{number}") for number in range(100)))
    assert answers == [f"path/{number}->" for number in range(100)]


async def test_calls_do_not_wait_for_each_other(fault) -> None:
    started = time.monotonic()
    await asyncio.gather(*(value(fault, "sleep:2000") for _ in range(40)))
    assert time.monotonic() - started < 40  # 80 s one after the other


async def test_a_value_of_three_megabytes_comes_whole(fault) -> None:
    assert await value(fault, "big:3000000") == "x" * 3_000_000


@pytest.mark.fault(10, "an error of that token with its size, the limit and the setting")
async def test_a_value_larger_than_asked_for_is_refused_with_size_limit_and_remedy(
    start_backend, install, faultplugin
) -> None:
    backend = await start_backend(install("fault", faultplugin), max_value_bytes=1000)
    assert len(await value(backend, "big:1000")) == 1000
    error = await ask(backend, "big:1001")
    assert isinstance(error, errors.PluginAnswerInvalid)
    assert backend.name in error.message
    assert "1001 bytes" in error.message
    assert "1000 are the most" in error.message
    assert error.hint is not None
    assert "maxValueSize" in error.hint


async def test_a_status_becomes_an_error_that_does_not_repeat_the_plugins_text(fault) -> None:
    for code, kind in [(5, errors.ValueNotFound), (7, errors.AccessDenied), (14, errors.BackendUnavailable)]:
        error = await ask(fault, f"code:{code}")
        assert type(error) is kind
        assert fault.name in error.message
        assert "hunter2" not in f"{error.message} {error.hint}"
    assert type(await ask(fault, "code:99")) is errors.BackendUnavailable


async def test_the_text_of_a_failure_is_logged_at_debug_without_known_secrets(
    start_backend, install, faultplugin
) -> None:
    stream = io.StringIO()
    log = Log(Level.DEBUG, as_json=True, stream=stream)
    log.redactor.add(b"hunter2")
    backend = await start_backend(install("fault", faultplugin), log=log)
    await ask(backend, "code:5")
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    (entry,) = [entry for entry in entries if entry["event"] == "plugin call failed"]
    assert (entry["status"], entry["details"]) == ("NOT_FOUND", "simulated, with a secret *** in it")


async def test_aws_words_and_our_trailers_are_understood_over_the_wire(fault) -> None:
    error = await ask(fault, "error:operation error SSM: GetParameter, StatusCode: 400, ParameterNotFound: ")
    assert isinstance(error, errors.ValueNotFound)
    trailers = "injector-error-code=backend-throttled,injector-retry-after=2.5,injector-error-message=slow%20down"
    error = await ask(fault, f"trailer:2:{trailers}")
    assert isinstance(error, errors.Throttled)
    assert error.retry_after == 2.5
    assert error.message == f"{fault.name}: slow down"


async def test_a_call_ends_at_its_deadline_and_the_plugin_is_told(
    start_backend, install, faultplugin, tmp_path
) -> None:
    trace = tmp_path / "trace"
    backend = await start_backend(install("fault", faultplugin), FAULT_TRACE=str(trace))
    error = await ask(backend, "sleep:60000", timeout=0.3)
    assert isinstance(error, errors.CallTimeout)
    await until(lambda: trace.exists() and trace.read_text())


async def test_a_cancelled_iteration_cancels_the_call(start_backend, install, faultplugin, tmp_path) -> None:
    trace = tmp_path / "trace"
    backend = await start_backend(install("fault", faultplugin), FAULT_TRACE=str(trace))
    task = asyncio.ensure_future(ask(backend, "sleep:60000"))
    await value(backend, "sleep:100")  # the other call is under way by now
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: trace.exists() and trace.read_text() == "context canceled")
    assert await value(backend, "still there") == "still there->"


async def test_a_deadline_that_is_over_already_is_a_timeout(fault) -> None:
    assert isinstance(await ask(fault, "x", timeout=-1), errors.CallTimeout)


# ------------------------------------------------------------------------------------------------- process and files


async def test_a_plugin_on_tcp_is_served_as_well(start_backend, install, faultplugin) -> None:
    backend = await start_backend(install("fault", faultplugin), FAULT_NETWORK="tcp")
    assert await value(backend, "a", "b") == "a->b"


@pytest.mark.fault(5, "lines before the handshake are skipped")
async def test_noise_before_the_handshake_is_skipped(start_backend, install, faultplugin) -> None:
    backend = await start_backend(install("fault", faultplugin), FAULT_NOISE="loading\n\nready | go\n")
    assert await value(backend, "a") == "a->"


@pytest.mark.fault(23, "an allow-list of the environment")
async def test_the_plugin_sees_the_allow_list_and_go_plugins_variables_only(
    start_backend, install, faultplugin, socket_base
) -> None:
    own = {"AWS_REGION": "eu-west-1", "DB_PASSWORD": "x", "PLUGIN_CLIENT_CERT": "x", "PLUGIN_MULTIPLEX_GRPC": "true"}
    backend = await start_backend(install("fault", faultplugin), **own)
    seen = json.loads(await value(backend, "env"))
    directory = seen.pop("PLUGIN_UNIX_SOCKET_DIR")
    assert Path(directory).parent == socket_base
    assert seen.pop("PLUGIN_CLIENT_CERT").startswith("-----BEGIN CERTIFICATE-----\n")
    assert seen == {
        "AWS_REGION": "eu-west-1",
        "CONFIGMANAGER_PLUGIN": "configmanager-plugin-hello",
        "PATH": os.environ["PATH"],
        "PLUGIN_MAX_PORT": "25000",
        "PLUGIN_MIN_PORT": "10000",
        "PLUGIN_PROTOCOL_VERSIONS": "1,2",
        "TMPDIR": str(socket_base),
    }


async def test_the_plugins_log_reaches_ours(start_backend, install, faultplugin) -> None:
    stream = io.StringIO()
    backend = await start_backend(install("fault", faultplugin), log=Log(Level.WARNING, as_json=True, stream=stream))
    await value(backend, "log")
    await until(stream.getvalue)
    entry = json.loads(stream.getvalue())
    assert (entry["level"], entry["plugin"], entry["message"]) == ("warning", "fault", "hello from the plugin")
    assert (entry["plugin.path"], entry["plugin.number"]) == ("log", "3")


async def test_once_connected_no_file_is_left_and_calls_still_go(fault, socket_base) -> None:
    assert list(socket_base.iterdir()) == []
    assert await value(fault, "a") == "a->"


async def test_a_tmpdir_with_signs_that_urls_know_is_no_trouble(
    start_backend, install, faultplugin, socket_base
) -> None:
    strange = socket_base / "a b%20#?"
    strange.mkdir()
    backend = await start_backend(install("fault", faultplugin), TMPDIR=str(strange))
    assert str(strange) in await value(backend, "env")
    assert list(strange.iterdir()) == []
    strange.rmdir()


async def test_closing_ends_the_process_gently_and_twice_is_no_error(start_backend, install, faultplugin) -> None:
    backend = await start_backend(install("fault", faultplugin), stop_grace=PATIENCE)
    process = psutil.Process(backend.pid)
    await asyncio.gather(backend.close(), backend.close())
    await backend.close()
    assert not process.is_running()
    assert isinstance(await ask(backend, "a"), errors.PluginCrashed)


async def test_closing_with_calls_under_way_answers_them_with_errors(start_backend, install, faultplugin) -> None:
    backend = await start_backend(install("fault", faultplugin), stop_grace=0.5)
    calls = [asyncio.ensure_future(ask(backend, "sleep:60000")) for _ in range(5)]
    await value(backend, "a")
    await backend.close()
    assert all(isinstance(outcome, InjectorError) for outcome in await asyncio.gather(*calls))


async def test_a_start_that_is_cancelled_leaves_nothing(start_backend, install, socket_base) -> None:
    task = asyncio.ensure_future(start_backend(install("slow", "#!/bin/sh\nexec sleep 1000\n")))
    await until(lambda: list(socket_base.iterdir()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(socket_base.iterdir()) == []


async def test_no_descriptor_is_left(start_backend, install, faultplugin, descriptors) -> None:
    candidate = install("fault", faultplugin)

    async def once() -> None:
        backend = await start_backend(candidate)
        await value(backend, "a")
        await ask(backend, "exit:1")
        await backend.close()

    await once()  # gRPC opens what it keeps
    gc.collect()
    before = descriptors()
    for _ in range(5):
        await once()
    gc.collect()
    await until(lambda: descriptors() <= before)


_HOST = """
import asyncio, os, sys
from injector.backends.discovery import Candidate, Kind
from injector.backends.goplugin.start import start_plugin
from injector.model.references import Reference
from injector.telemetry.logs import Level, Log

async def main():
    candidate = Candidate("FAULT", Kind.GOPLUGIN, sys.argv[1], (sys.argv[1],), "test")
    options = {"log": Log(Level.WARNING), "start_timeout": 30, "extra_variables": ("FAULT_*",)}
    backends = [await start_plugin(candidate, **options) for _ in range(2)]
    for backend in backends:
        async for _, outcome in backend.fetch([Reference("FAULT", "a")], timeout=60):
            assert outcome.data.reveal() == b"a->", outcome
    print(*(backend.pid for backend in backends), flush=True)
    if sys.argv[2] == "stay":
        await asyncio.sleep(1000)
    closing = [asyncio.ensure_future(backend.close()) for backend in backends]
    await asyncio.sleep(0)
    if sys.argv[2] == "leave":
        return
    await asyncio.gather(*closing)

asyncio.run(main())
"""


@pytest.mark.fault(20, "plugins end with their host")
async def test_a_killed_host_leaves_no_plugin_and_no_file(faultplugin, socket_base) -> None:
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(socket_base)}
    command = [sys.executable, "-c", _HOST, str(faultplugin), "stay"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        plugins = [psutil.Process(int(pid)) for pid in host.stdout.readline().split()]
        assert len(plugins) == 2
        assert all(plugin.is_running() for plugin in plugins)
        host.kill()
    await until(lambda: not any(_lives(plugin) for plugin in plugins))
    assert list(socket_base.iterdir()) == []


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("end", ["wait", "leave"])
def test_a_host_in_strict_mode_prints_nothing_and_kills_who_is_deaf(faultplugin, socket_base, end: str) -> None:
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(socket_base)} | {"FAULT_DEAF": "1"}
    command = [sys.executable, "-W", "error", "-c", _HOST, str(faultplugin), end]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert not any(psutil.pid_exists(int(pid)) for pid in done.stdout.split())
