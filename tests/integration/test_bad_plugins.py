"""Plugins that do everything wrong that a program can do: each costs its own tokens, in time, with a cause."""

from __future__ import annotations

import asyncio
import io
import json
import time
from pathlib import Path

import psutil
import pytest
from waiting import PATIENCE, until

from injector import errors
from injector.backends.discovery import Candidate, Kind, SearchPath, SearchPlace, find
from injector.backends.executables import this_platform
from injector.errors import ExitCode, InjectorError
from injector.model.references import Reference, Value
from injector.telemetry.logs import Level, Log
from tools.plugin_faults import ENDLESS_NOISE, MALFORMED_HANDSHAKES, PROGRAMS, handshake, script


async def refused(start_backend, candidate: Candidate, *, start_timeout: float = PATIENCE) -> InjectorError:
    """The error of a start that fails: with the plugin's name and path, and nothing left behind."""
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(errors.PluginError) as caught:
        await start_backend(candidate, start_timeout=start_timeout)
    assert caught.value.exit_code is ExitCode.PLUGIN
    assert str(candidate) in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 1000
    assert set(psutil.Process().children(recursive=True)) <= before
    return caught.value


async def ask(backend, path: str, *, timeout: float = PATIENCE):
    (answer,) = [answer async for answer in backend.fetch([Reference("FAULT", path)], timeout=timeout)]
    return answer[1]


# ---------------------------------------------------------------------------------------------------- cannot be run


async def test_missing(tmp_path: Path) -> None:
    search = SearchPath((SearchPlace(tmp_path, "plugin path"),), this_platform())
    with pytest.raises(errors.PluginNotFound, match="plugin gone is not installed") as caught:
        find(search, "GONE")
    assert caught.value.exit_code is ExitCode.PLUGIN
    assert str(tmp_path) in (caught.value.hint or "")


async def test_gone_since_it_was_found(start_backend, install) -> None:
    candidate = install("gone", script("exit 0"))
    Path(candidate.location).unlink()
    error = await refused(start_backend, candidate)
    assert isinstance(error, errors.PluginStartFailed)
    assert "cannot be executed: No such file or directory" in error.message


@pytest.mark.fault(17, "a refusal with the remedy")
async def test_not_executable(start_backend, install, tmp_path: Path) -> None:
    candidate = install("plain", script("exit 0"))
    Path(candidate.location).chmod(0o644)
    error = await refused(start_backend, candidate)
    assert isinstance(error, errors.PluginRefused)
    assert "is not executable" in error.message
    search = SearchPath((SearchPlace(tmp_path / "plugins", "plugin path"),), this_platform())
    with pytest.raises(errors.PluginRefused, match="is not executable") as caught:
        find(search, "PLAIN")
    assert candidate.location in caught.value.message


@pytest.mark.fault(17, "a refusal that names both machines")
async def test_for_another_machine(install) -> None:
    foreign = {"amd64": 183}.get(this_platform().processor, 62)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0" + foreign.to_bytes(2, "little") + bytes(44)
    with pytest.raises(errors.PluginRefused, match=f"ELF program for .* and this is {this_platform()}") as caught:
        install("foreign", header)
    assert caught.value.exit_code is ExitCode.PLUGIN
    assert "plugin foreign (" in caught.value.message


async def test_a_program_that_the_system_does_not_know(start_backend, install) -> None:
    error = await refused(start_backend, install("unknown", PROGRAMS["unknown format"]))
    assert "cannot be executed: Exec format error" in error.message


async def test_an_interpreter_that_is_not_there(start_backend, install) -> None:
    error = await refused(start_backend, install("interpreted", PROGRAMS["no interpreter"]))
    assert "the interpreter or loader that it names does not exist" in error.message


async def test_a_refused_candidate_is_not_started(start_backend) -> None:
    refusal = errors.PluginRefused("no")
    candidate = Candidate("X", Kind.WASM, "/x.wasm", (), "test", refusal)
    with pytest.raises(errors.PluginRefused) as caught:
        await start_backend(candidate)
    assert caught.value is refusal


# -------------------------------------------------------------------------------------------- before the handshake


async def test_exits_at_once(start_backend, install) -> None:
    error = await refused(start_backend, install("brief", PROGRAMS["ends at once"]))
    assert isinstance(error, errors.PluginStartFailed)
    assert error.message.endswith('ended before its handshake: exit code 3; its last words: "fatal: no credentials"')


async def test_exits_at_once_and_leaves_a_child_with_its_pipes(start_backend, install) -> None:
    error = await refused(start_backend, install("forking", PROGRAMS["leaves a child with its pipes"]))
    assert 'ended before its handshake: exit code 0; its last words: "bye"' in error.message


async def test_is_killed_at_once(start_backend, install) -> None:
    error = await refused(start_backend, install("killed", PROGRAMS["killed at once"]))
    assert error.message.endswith("ended before its handshake: killed by signal SIGKILL")


@pytest.mark.fault(5, "an error that quotes a little of it, printable")
async def test_prints_garbage_and_ends(start_backend, install) -> None:
    error = await refused(start_backend, install("garbage", PROGRAMS["prints garbage"]))
    assert 'exit code 1; it began with "one", "?[2Jtwo"' in error.message


@pytest.mark.parametrize("command", ENDLESS_NOISE)
@pytest.mark.fault(5, "reading ends at a limit")
async def test_prints_garbage_for_ever(start_backend, install, command: str) -> None:
    error = await refused(start_backend, install("chatty", script(f"exec {command}")))
    assert isinstance(error, errors.HandshakeFailed)


async def test_writes_to_standard_error_for_ever_without_a_handshake(start_backend, install) -> None:
    error = await refused(start_backend, install("loud", PROGRAMS["writes errors for ever"]), start_timeout=4)
    assert isinstance(error, errors.PluginStartTimeout)
    assert 'its last words: "trouble / trouble / trouble"' in error.message


@pytest.mark.fault(3, "an error at the start's time-out, with what it printed; no process is left")
async def test_hangs_before_the_handshake(start_backend, install) -> None:
    error = await refused(start_backend, install("silent", PROGRAMS["says nothing"]), start_timeout=4)
    assert isinstance(error, errors.PluginStartTimeout)
    assert 'sent no handshake within 4 s; it began with "wait"' in error.message


async def test_closes_its_output(start_backend, install) -> None:
    error = await refused(start_backend, install("closing", PROGRAMS["closes its output"]))
    assert "closed its standard output without a handshake" in error.message


@pytest.mark.parametrize(("line", "reason"), MALFORMED_HANDSHAKES)
@pytest.mark.fault(7, "a refusal that names the field, and both versions")
async def test_a_malformed_handshake(start_backend, install, line: str, reason: str) -> None:
    error = await refused(start_backend, install("malformed", handshake(line)))
    assert isinstance(error, errors.HandshakeFailed)
    assert reason in error.message


# --------------------------------------------------------------------------------------------- after the handshake


@pytest.mark.parametrize(("program", "address"), [("no socket", "/does/not/exist"), ("no port", "127.0.0.1:1")])
async def test_does_not_listen_where_it_says(start_backend, install, program: str, address: str) -> None:
    error = await refused(start_backend, install("absent", PROGRAMS[program]))
    assert isinstance(error, errors.PluginStartFailed)
    assert f"does not listen at {address}" in error.message


async def test_listens_and_never_answers(start_backend, install) -> None:
    candidate = install("deaf", PROGRAMS["never answers"])
    error = await refused(start_backend, candidate, start_timeout=5)
    assert isinstance(error, errors.PluginStartTimeout)
    assert "did not answer at /" in error.message
    assert "within 5 s" in error.message


async def test_answers_with_something_that_is_not_http2(start_backend, install) -> None:
    error = await refused(start_backend, install("http", PROGRAMS["not HTTP/2"]), start_timeout=PATIENCE)
    assert isinstance(error, errors.PluginError)


async def test_ends_between_handshake_and_first_answer(start_backend, install) -> None:
    error = await refused(start_backend, install("fleeting", PROGRAMS["ends before its first answer"]))
    assert isinstance(error, errors.PluginStartFailed)
    assert 'exit code 4; its last words: "cannot serve"' in error.message or "does not listen" in error.message


@pytest.mark.go
@pytest.mark.fault(1, "the calls that were open fail as a crash, with exit code and last words")
async def test_dies_in_the_middle_of_a_call(start_backend, install, faultplugin) -> None:
    backend = await start_backend(install("fault", faultplugin))
    waiting = asyncio.ensure_future(ask(backend, "sleep:60000"))
    for error in (await ask(backend, "exit:3"), await waiting, await ask(backend, "later")):
        assert isinstance(error, errors.PluginCrashed)
        assert error.exit_code is ExitCode.PLUGIN
        assert backend.name in error.message
        assert "exit code 3" in error.message
        assert "last words of the plugin" in error.message


@pytest.mark.go
async def test_is_killed_in_the_middle_of_a_call(start_backend, install, faultplugin) -> None:
    backend = await start_backend(install("fault", faultplugin))
    waiting = asyncio.ensure_future(ask(backend, "sleep:60000"))
    assert isinstance(await ask(backend, "first"), Value)
    psutil.Process(backend.pid).kill()
    error = await waiting
    assert isinstance(error, errors.PluginCrashed)
    assert "killed by signal SIGKILL" in error.message


@pytest.mark.go
@pytest.mark.fault(2, "the call fails at its deadline, others are answered")
async def test_hangs_in_a_call(start_backend, install, faultplugin) -> None:
    backend = await start_backend(install("fault", faultplugin))
    process = psutil.Process(backend.pid)
    process.suspend()
    await until(lambda: process.status() == psutil.STATUS_STOPPED)  # it may answer until then
    error = await ask(backend, "a", timeout=0.5)
    assert isinstance(error, errors.CallTimeout)
    assert error.exit_code is ExitCode.UNAVAILABLE
    assert backend.name in error.message
    psutil.Process(backend.pid).resume()
    assert isinstance(await ask(backend, "a"), Value)


@pytest.mark.go
@pytest.mark.parametrize("size", [20_000_000, 80_000_000])
@pytest.mark.fault(9, "an error of that token; later calls are answered")
async def test_answers_with_too_much(start_backend, install, faultplugin, size: int) -> None:
    backend = await start_backend(install("fault", faultplugin))
    error = await ask(backend, f"big:{size}")
    assert isinstance(error, errors.PluginAnswerInvalid)
    assert error.exit_code is ExitCode.PLUGIN
    assert backend.name in error.message
    assert isinstance(await ask(backend, "a"), Value)


@pytest.mark.go
@pytest.mark.fault(11, "protocol 1, which has texts only: an error of that token")
async def test_answers_with_something_that_is_not_text(start_backend, install, faultplugin) -> None:
    backend = await start_backend(install("fault", faultplugin))
    error = await ask(backend, "notutf8")
    assert isinstance(error, errors.PluginAnswerInvalid)
    assert "UTF-8" in error.message


@pytest.mark.go
@pytest.mark.fault(6, "calls are answered; what is too much is left out of the log and counted")
async def test_writes_without_end_and_is_still_served(start_backend, install, faultplugin) -> None:
    stream = io.StringIO()
    log = Log(Level.DEBUG, as_json=True, stream=stream)
    backend = await start_backend(install("fault", faultplugin), log=log)
    assert isinstance(await ask(backend, "flood"), Value)
    started = time.monotonic()
    for number in range(20):
        assert isinstance(await ask(backend, f"path/{number}"), Value)
    await asyncio.sleep(max(0.0, started + 1.5 - time.monotonic()))  # long enough for the rate limit to speak
    assert isinstance(await ask(backend, "after"), Value)
    seconds = time.monotonic() - started
    await backend.close()
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert any(entry["event"] == "plugin output suppressed" for entry in entries)
    assert len(entries) < 4 * 1002 * (seconds + 2)  # two descriptors, and two streams over the connection


@pytest.mark.go
async def test_ignores_every_request_to_end(start_backend, install, faultplugin) -> None:
    backend = await start_backend(install("fault", faultplugin), FAULT_DEAF="1", stop_grace=0.5)
    process = psutil.Process(backend.pid)
    started = time.monotonic()
    await backend.close()
    assert 0.5 <= time.monotonic() - started < PATIENCE
    assert not process.is_running()


@pytest.mark.go
@pytest.mark.fault(19, "the child ends with its plugin")
async def test_leaves_a_child_behind(start_backend, install, faultplugin) -> None:
    stream = io.StringIO()
    log = Log(Level.DEBUG, as_json=True, stream=stream)
    backend = await start_backend(install("fault", faultplugin), FAULT_CHILD="1", log=log)
    (child,) = psutil.Process(backend.pid).children()
    await backend.close()
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.go
@pytest.mark.fault(19, "the crash is told at once, and the child ended")
async def test_dies_and_leaves_a_child_that_holds_its_pipes(start_backend, install, faultplugin) -> None:
    backend = await start_backend(install("fault", faultplugin), FAULT_CHILD="1")
    error = await ask(backend, "exit:3")
    assert isinstance(error, errors.PluginCrashed)
    assert "exit code 3" in error.message
    await backend.close()
