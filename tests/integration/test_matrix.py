"""
Every host with every plugin over every kind of connection, as real processes.

A cell prints one line (`pytest -s`), and appends it to the file that MATRIX_REPORT names. Times are in milliseconds.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time

import pytest
from fixtures_processes import ended_by_itself
from waiting import PATIENCE

from injector.backends.goplugin.wiring import Wiring
from injector.model.policy import AutoMtls
from injector.model.references import Reference, Value

pytestmark = pytest.mark.go

PYTHON_PLUGIN = """
import os
if os.environ.get("FAULT_NETWORK"):
    os.environ["PLUGIN_UNIX_SOCKET_DIR"] = "/nonexistent"  # no socket can be had: a loopback port it is
from injector.sdk.serving import serve
from injector.sdk.store import LookupStore

class Store(LookupStore):
    def look_up(self, reference):
        word, _, argument = reference.path.partition(":")
        if word == "big":
            return "x" * int(argument)
        return f"{reference.path}->{reference.raw_metadata}"

serve(Store(), name="matrix")
"""
KINDS = {
    "plain": (AutoMtls.OFF, False),
    "AutoMTLS": (AutoMtls.REQUIRE, False),
    "multiplexed": (AutoMtls.OFF, True),
    "both": (AutoMtls.REQUIRE, True),
}
CELLS = list(itertools.product(("go", "python"), KINDS, ("unix", "tcp")))
CALLS = 100


@pytest.fixture
def plugin(request, faultplugin, python_plugin):
    """The program, and the environment that makes it listen as the cell has it."""
    language, _, network = request.param
    environment = {} if network == "unix" else {"FAULT_NETWORK": "proxied"}
    return faultplugin if language == "go" else python_plugin(source=PYTHON_PLUGIN), environment


def report(host: str, cell: tuple[str, str, str], handshake: float | None, first: float, rate: float) -> None:
    language, kind, network = cell
    shaken = f"{handshake:7.1f}" if handshake is not None else "      -"
    line = (
        f"{language + ' plugin':14} {host + ' host':13} {kind:12} {network:5} "
        f"handshake {shaken}  first answer {first:7.1f}  {rate:6.0f} calls/s, 16 in flight"
    )
    print(line)
    if path := os.environ.get("MATRIX_REPORT"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")


@pytest.mark.parametrize(("plugin", "cell"), [(cell, cell) for cell in CELLS], indirect=["plugin"])
def test_under_the_go_host(go_host, plugin, cell, socket_directory) -> None:
    program, environment = plugin
    language, kind, network = cell
    mtls, multiplex = KINDS[kind]
    flags = ["-mtls"] * (mtls is AutoMtls.REQUIRE) + ["-multiplex"] * multiplex

    def run(*arguments: str) -> dict:
        command = [go_host, *flags, "-metadata", "k=v", *arguments, program]
        environ = os.environ | {"TMPDIR": str(socket_directory)} | environment
        done = subprocess.run(command, check=False, capture_output=True, env=environ, timeout=60)
        answer = json.loads(done.stdout)
        assert answer["error"] == "", done.stderr.decode()
        return answer

    answer = ended_by_itself(lambda: run("-n", str(CALLS), "-c", "16", "-token", "/n/{i}"), socket_directory)
    assert answer["network"] == network
    assert [call["value"] for call in answer["calls"]] == [f"/n/{number}->k=v" for number in range(CALLS)]
    large = ended_by_itself(lambda: run("-token", "big:3000000"), socket_directory)
    assert large["calls"][0]["value"] == "x" * 3_000_000
    if language == "python" or not multiplex:  # a multiplexed plugin in Go leaves its socket behind (v1.8.0)
        assert list(socket_directory.iterdir()) == []
    report("Go", cell, answer["handshake_ms"], answer["first_ms"], (CALLS - 1) / answer["seconds"])


@pytest.mark.parametrize(("plugin", "cell"), [(cell, cell) for cell in CELLS], indirect=["plugin"])
async def test_under_our_host(start_backend, install, plugin, cell, socket_base) -> None:
    import asyncio

    program, environment = plugin
    _, kind, _ = cell
    mtls, multiplex = KINDS[kind]
    candidate = install("cell", program)

    async def ask(path: str) -> str:
        answers = backend.fetch([Reference("CELL", path, "k=v")], timeout=PATIENCE)
        ((_, outcome),) = [answer async for answer in answers]
        assert isinstance(outcome, Value), outcome
        return outcome.data.reveal().decode()

    started = time.perf_counter()
    backend = await start_backend(candidate, wiring=Wiring(auto_mtls=mtls, multiplex=multiplex), **environment)
    assert await ask("first") == "first->k=v"
    first = (time.perf_counter() - started) * 1000
    assert list(socket_base.iterdir()) == []

    async def worker(numbers: range) -> list[str]:
        return [await ask(f"/n/{number}") for number in numbers]

    begun = time.perf_counter()
    parts = await asyncio.gather(*(worker(range(start, CALLS, 16)) for start in range(16)))
    seconds = time.perf_counter() - begun
    assert sorted(itertools.chain(*parts)) == sorted(f"/n/{number}->k=v" for number in range(CALLS))
    assert await ask("big:3000000") == "x" * 3_000_000
    report("our", cell, None, first, CALLS / seconds)
