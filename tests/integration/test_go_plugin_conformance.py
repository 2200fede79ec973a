"""What go-plugin's own tests ask of a host and no other test here does; the list is docs/go-plugin-conformance.md."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import time
from pathlib import Path

import psutil
import pytest
from waiting import PATIENCE, until

from injector import errors
from injector.backends.discovery import SearchPath, SearchPlace
from injector.backends.executables import this_platform
from injector.backends.registry import HostOptions, Registry
from injector.model.references import Reference, Value
from injector.telemetry.logs import Level, Log
from tools.plugin_faults import script

pytestmark = pytest.mark.go

ROOT = Path(__file__).resolve().parents[2]


async def ask(backend, path: str, *, timeout: float = PATIENCE):
    ((_, outcome),) = [answer async for answer in backend.fetch([Reference("FAULT", path)], timeout=timeout)]
    return outcome.data.reveal().decode() if isinstance(outcome, Value) else outcome


@pytest.fixture
def registry_of(install, faultplugin, tmp_path: Path, socket_base: Path, one_loop):
    """`registry_of(name=program …)`: a registry that finds these plugins."""

    def make(**programs: Path | str) -> Registry:
        for name, program in programs.items():
            install(name, program)
        search = SearchPath((SearchPlace(tmp_path / "plugins", "plugin path"),), this_platform())
        environment = {"PATH": os.environ["PATH"], "TMPDIR": str(socket_base)}
        return Registry(search, HostOptions(), environment=environment, log=Log(Level.OFF))

    return make


async def test_a_handshake_of_a_program_that_ends_at_once_is_never_overlooked(start_backend, install) -> None:
    """TestClient_noStdoutScannerRace."""
    candidate = install("hasty", script("echo '1|1|unix|/does/not/exist|grpc'"))
    for _ in range(20):
        with pytest.raises(errors.PluginStartFailed, match=r"does not listen|before its first answer: exit code 0"):
            await start_backend(candidate)


async def test_closing_during_a_start_ends_the_program(registry_of, socket_base) -> None:
    """TestClient_killStart."""
    registry = registry_of(slow=script("exec sleep 1000"))
    before = set(psutil.Process().children())
    opening = asyncio.ensure_future(registry.open("SLOW"))
    await until(lambda: set(psutil.Process().children()) - before)
    await registry.close()
    with pytest.raises((asyncio.CancelledError, errors.PluginError)):
        await opening
    assert set(psutil.Process().children()) == before
    assert list(socket_base.iterdir()) == []


async def test_several_plugins_are_closed_side_by_side(registry_of, install, faultplugin) -> None:
    """TestClient_testCleanup."""
    registry = registry_of(one=faultplugin, two=faultplugin, three=faultplugin, four=faultplugin)
    before = set(psutil.Process().children())
    backends = await asyncio.gather(*(registry.open(name) for name in ("ONE", "TWO", "THREE", "FOUR")))
    for backend in backends:
        psutil.Process(backend.instance.pid).suspend()  # each takes the whole grace of 2 s
    started = time.monotonic()
    await registry.close()
    assert 1.5 < time.monotonic() - started < 7.5  # 8 s one after the other
    assert set(psutil.Process().children()) == before


async def test_a_plugin_is_asked_whether_it_is_well(start_backend, install, faultplugin) -> None:
    """TestClient_ping, and what Go's client has no answer to: a plugin that hangs."""
    backend = await start_backend(install("fault", faultplugin), stop_grace=0.2)
    assert await backend.check_health(within=PATIENCE) is True
    psutil.Process(backend.pid).suspend()
    assert await backend.check_health(within=0.2) is False
    psutil.Process(backend.pid).resume()
    assert await backend.check_health(within=PATIENCE) is True
    assert backend.loss is None
    psutil.Process(backend.pid).kill()
    await until(lambda: backend.loss is not None)
    assert await backend.check_health(within=PATIENCE) is False
    await backend.close()
    assert await backend.check_health(within=PATIENCE) is False


async def test_a_plugin_reads_nothing_from_our_standard_input(start_backend, install, faultplugin) -> None:
    """TestClient_Stdin: Go passes the host's on; a sidecar's is nobody's business."""
    backend = await start_backend(install("fault", faultplugin))
    assert await ask(backend, "stdin") == "0 bytes, <nil>"


@pytest.mark.parametrize("token", ["long:200000", "longjson:200000"])
async def test_a_line_over_64_kib_arrives_whole_in_pieces_at_debug(
    start_backend, install, faultplugin, token: str
) -> None:
    """TestClient_logStderr, TestClient_logStderrParseJSON."""
    stream = io.StringIO()
    backend = await start_backend(install("fault", faultplugin), log=Log(Level.DEBUG, as_json=True, stream=stream))
    await ask(backend, token)
    letter = "x" if token.startswith("long:") else "y"

    def pieces() -> list[dict[str, str]]:
        entries = [json.loads(line) for line in stream.getvalue().splitlines()]
        return [entry for entry in entries if letter * 10 in str(entry.get("message"))]

    await until(lambda: sum(entry["message"].count(letter) for entry in pieces()) == 200_000)
    assert len(pieces()) == 4
    assert {entry["level"] for entry in pieces()} == {"debug"}


async def test_a_panic_is_logged_as_an_error_to_its_end_and_is_the_plugins_last_word(
    start_backend, install, faultplugin
) -> None:
    """TestServerLogPanic."""
    stream = io.StringIO()
    backend = await start_backend(install("fault", faultplugin), log=Log(Level.ERROR, as_json=True, stream=stream))
    error = await ask(backend, "panic:out of luck")
    assert isinstance(error, errors.PluginCrashed)
    assert "exit code 2" in error.message
    assert "panic: out of luck" in error.message
    await backend.close()
    messages = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert "panic: out of luck" in messages[0]
    assert any(message.startswith("goroutine ") for message in messages)


def test_every_test_that_the_page_names_exists() -> None:
    page = (ROOT / "docs" / "go-plugin-conformance.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 30
    source = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    files = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert {name for name in named if f"def {name}(" not in source and name not in files} == set()
