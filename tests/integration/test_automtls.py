"""AutoMTLS: who is refused, what is left behind, and that it carries what plain connections carry."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import ssl
import sys
from pathlib import Path

import psutil
import pytest
from waiting import PATIENCE, until

from injector import errors
from injector.app import build
from injector.backends.goplugin.wiring import Wiring
from injector.model.policy import AutoMtls
from injector.model.references import Reference, Value
from injector.settings.schema import PluginSettings, Settings
from injector.telemetry.logs import Level, Log
from injector.wire import certificates
from injector.wire.certificates import Identity
from injector.wire.tls import make_context

REQUIRED = Wiring(auto_mtls=AutoMtls.REQUIRE)
BOTH = Wiring(auto_mtls=AutoMtls.REQUIRE, multiplex=True)
OFF = Wiring(auto_mtls=AutoMtls.OFF)

SDK_PLUGIN = f"""#!{sys.executable}
import os, sys
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" and (
    isinstance(arguments[1], str) and set(arguments[1]) & set("wax+") or (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
) else None)
from injector.sdk.serving import serve
from injector.sdk.store import LookupStore

class Store(LookupStore):
    def look_up(self, reference):
        if reference.path == "opened":
            return "\\n".join(opened)
        return reference.path

serve(Store(), name="sdk")
"""


async def ask(backend, path: str, *, timeout: float = PATIENCE):
    (answer,) = [answer async for answer in backend.fetch([Reference("X", path)], timeout=timeout)]
    return answer[1]


async def value(backend, path: str) -> str:
    outcome = await ask(backend, path)
    assert isinstance(outcome, Value), outcome
    return outcome.data.reveal().decode()


# ------------------------------------------------------------------------------------------------------- impostors

# A plugin by hand: `shown` is the certificate of its handshake, `used` that of its TLS, `trusted` whom it lets in.
BY_HAND = f"""#!{sys.executable}
import os, socket, time
from injector.wire import certificates
from injector.wire.tls import make_context
own, other = certificates.self_signed(), certificates.self_signed()
host = certificates.from_pem(os.environ["PLUGIN_CLIENT_CERT"])
path = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "plugin1")
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
print(f"1|1|unix|{{path}}|grpc|{{certificates.to_field(own.certificate)}}", flush=True)
shown, used, trusted = own, CASE
context = make_context(used, peer=trusted, server_side=True)
while True:
    connection, _ = listener.accept()
    try:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1)
    except OSError:
        pass
"""


async def refused(start_backend, candidate, wiring: Wiring = REQUIRED) -> errors.PluginError:
    with pytest.raises(errors.PluginError) as caught:
        await start_backend(candidate, wiring=wiring)
    assert str(candidate) in caught.value.message
    return caught.value


@pytest.mark.parametrize("mode", [AutoMtls.REQUIRE, AutoMtls.PREFER])
async def test_a_plugin_with_another_certificate_than_in_its_handshake_is_refused(start_backend, install, mode) -> None:
    candidate = install("impostor", BY_HAND.replace("CASE", "other, host"))
    error = await refused(start_backend, candidate, Wiring(auto_mtls=mode))
    assert isinstance(error, errors.HandshakeFailed)
    assert "showed another certificate than that of its handshake" in error.message


async def test_a_plugin_that_refuses_our_certificate_is_told_of_in_words(start_backend, install) -> None:
    candidate = install("picky", BY_HAND.replace("CASE", "own, other.certificate"))
    error = await refused(start_backend, candidate)
    assert isinstance(error, errors.HandshakeFailed)
    assert "refused our certificate" in error.message
    assert "autoMtls" in (error.hint or "")


async def test_a_plugin_that_says_tls_and_speaks_none_is_refused(start_backend, install) -> None:
    text = BY_HAND.partition("context =")[0].replace("CASE", "own, host")
    text += "kept = []\nwhile True:\n    kept.append(listener.accept()[0])\n"
    text += "    kept[-1].sendall(b'HTTP/1.1 400 Bad Request\\r\\n\\r\\n')\n"
    error = await refused(start_backend, install("liar", text))
    assert "does not speak TLS" in error.message


async def test_a_plugin_that_closes_in_the_middle_of_tls_is_refused(start_backend, install) -> None:
    text = BY_HAND.partition("context =")[0].replace("CASE", "own, host")
    text += "while True:\n    listener.accept()[0].close()\n"
    error = await refused(start_backend, install("brief", text))
    assert "dropped its connection before its first answer" in error.message


async def test_a_plugin_that_dies_in_the_middle_of_tls_is_reported_as_dead(start_backend, install) -> None:
    text = BY_HAND.partition("context =")[0].replace("CASE", "own, host")
    # The first connection is the host's own; it has sent its first bytes when they can be read.
    text += "listener.accept()[0].recv(1)\nos._exit(5)\n"
    error = await refused(start_backend, install("mortal", text))
    assert "exit code 5" in error.message


async def test_a_certificate_that_is_none_is_refused(start_backend, install) -> None:
    line = "1|1|unix|/x|grpc|" + "A" * 64
    script = f"#!{sys.executable}\nimport os, socket, time\nl = socket.socket(socket.AF_UNIX)\n"
    script += "p = os.environ['PLUGIN_UNIX_SOCKET_DIR'] + '/p'\nl.bind(p)\nl.listen()\n"
    script += f"print('{line}'.replace('/x', p), flush=True)\ntime.sleep(1000)\n"
    error = await refused(start_backend, install("garbled", script))
    assert "gave something that is no certificate" in error.message


PLAIN = """#!/bin/sh
unset PLUGIN_CLIENT_CERT PLUGIN_MULTIPLEX_GRPC
exec "$FAULT_PROGRAM"
"""


@pytest.mark.go
async def test_a_plugin_without_tls_is_served_in_clear_only_when_that_is_allowed(
    start_backend, install, faultplugin
) -> None:
    candidate = install("plain", PLAIN)
    stream = io.StringIO()
    log = Log(Level.DEBUG, as_json=True, stream=stream)
    backend = await start_backend(candidate, FAULT_PROGRAM=str(faultplugin), log=log)
    assert await value(backend, "a") == "a->"
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert "the plugin is reached without TLS: it has no AutoMTLS" in events
    with pytest.raises(errors.HandshakeFailed, match="no certificate, and AutoMTLS is required"):
        await start_backend(candidate, FAULT_PROGRAM=str(faultplugin), wiring=REQUIRED)


@pytest.mark.go
async def test_a_plugin_without_multiplexing_is_refused_when_it_is_asked_for(
    start_backend, install, faultplugin
) -> None:
    with pytest.raises(errors.HandshakeFailed, match="does not multiplex connections"):
        await start_backend(install("old", PLAIN), FAULT_PROGRAM=str(faultplugin), wiring=Wiring(multiplex=True))


async def test_a_certificate_that_was_not_asked_for_is_refused(start_backend, install) -> None:
    line = "1|1|unix|/x|grpc|" + "A" * 64
    error = await refused(start_backend, install("eager", f"#!/bin/sh\necho '{line}'\nexec sleep 1000\n"), OFF)
    assert "TLS was not asked for" in error.message


def test_the_sdk_serves_the_host_of_its_start_and_nobody_else(start_plugin, tmp_path) -> None:
    program = tmp_path / "plugin"
    program.write_text(SDK_PLUGIN)
    program.chmod(0o755)
    host, stranger = certificates.self_signed(), certificates.self_signed()
    plugin = start_plugin(program, PLUGIN_CLIENT_CERT=host.pem)
    theirs = certificates.from_field(plugin.handshake[5])

    def first_bytes(identity: Identity | None) -> bytes:
        context = make_context(identity or stranger, peer=theirs, server_side=False)
        if identity is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(PATIENCE)
            raw.connect(plugin.address)
            with context.wrap_socket(raw) as secured:
                secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
                return secured.recv(9)

    for identity in (stranger, None):
        with pytest.raises(OSError, match=r"alert|ALERT|EOF|reset|Broken pipe"):  # whichever is seen first
            first_bytes(identity)
    assert plugin.logged("not the host's")["@level"] == "warn"
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(PATIENCE)
        raw.connect(plugin.address)
        raw.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        assert not raw.recv(1000).startswith(b"\0\0")  # an alert, and no HTTP/2
    assert first_bytes(host)[3] == 4  # SETTINGS: gRPC is behind it


@pytest.mark.parametrize("wrong", ["garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_the_sdk_ends_its_start_in_words_when_the_hosts_certificate_is_none(start_plugin, tmp_path, wrong) -> None:
    program = tmp_path / "plugin"
    program.write_text(SDK_PLUGIN)
    program.chmod(0o755)
    with pytest.raises(AssertionError, match="PLUGIN_CLIENT_CERT is not a certificate"):
        start_plugin(program, PLUGIN_CLIENT_CERT=wrong)


# ---------------------------------------------------------------------------------------------------------- no keys


@pytest.mark.parametrize("wiring", [REQUIRED, BOTH])
async def test_no_key_touches_the_disk_and_nothing_is_left(start_backend, install, socket_base, wiring) -> None:
    written: list[str] = []
    watching = True

    def watch(event: str, arguments: tuple) -> None:
        if watching and event == "open":
            path, mode, flags = arguments
            by_mode = isinstance(mode, str) and set(mode) & set("wax+")
            if by_mode or (flags or 0) & (os.O_WRONLY | os.O_RDWR):
                written.append(str(path))

    candidate = install("sdk", SDK_PLUGIN)
    sys.addaudithook(watch)
    try:
        backend = await start_backend(candidate, wiring=wiring)
        assert await value(backend, "a") == "a"
        assert list(socket_base.iterdir()) == []
        theirs = (await value(backend, "opened")).split("\n")
        await backend.close()
    finally:
        watching = False
    # The lock of the socket directory, an empty file, is all that the host writes, and the plugin writes nothing.
    assert [Path(path).name for path in files(written)] == ["new"]
    assert files(theirs) == []


def files(opened: list[str]) -> list[str]:
    """What of *opened* is a file on a disk: no device, no descriptor, no cache of Python's."""
    ignored = ("/dev/null", "/proc/")
    named = (path for path in opened if path and not path.isdigit() and not path.startswith(ignored))
    return [path for path in named if "__pycache__" not in path]


# ------------------------------------------------------------------------------------------------ what is carried


@pytest.fixture(params=[REQUIRED, BOTH], ids=["tls", "tls-multiplexed"])
async def fault(request, start_backend, install, faultplugin):
    return await start_backend(install("fault", faultplugin), wiring=request.param)


@pytest.mark.go
@pytest.mark.parametrize("size", [3_000_000, 20_000_000])
async def test_large_answers_come_whole(start_backend, install, faultplugin, size) -> None:
    for wiring in (REQUIRED, BOTH):
        backend = await start_backend(
            install(f"fault{wiring.multiplex:d}", faultplugin), wiring=wiring, max_value_bytes=32_000_000
        )
        assert await value(backend, f"big:{size}") == "x" * size


@pytest.mark.go
async def test_a_thousand_calls_64_in_flight_each_get_their_own_value(fault) -> None:
    async def worker(first: int) -> None:
        for number in range(first, 1000, 64):
            assert await value(fault, f"/n/{number}") == f"/n/{number}->"

    await asyncio.gather(*(worker(first) for first in range(64)))


@pytest.mark.go
async def test_large_answers_and_small_ones_share_the_connection(fault) -> None:
    large = [asyncio.ensure_future(value(fault, "big:2000000")) for _ in range(8)]
    small = await asyncio.gather(*(value(fault, f"/n/{number}") for number in range(100)))
    assert small == [f"/n/{number}->" for number in range(100)]
    assert {len(text) for text in await asyncio.gather(*large)} == {2_000_000}


@pytest.mark.go
async def test_a_cancelled_call_disturbs_no_other(fault) -> None:
    for _ in range(20):
        task = asyncio.ensure_future(ask(fault, "big:1000000"))
        await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await value(fault, "after") == "after->"


@pytest.mark.go
async def test_a_deadline_holds(fault) -> None:
    assert isinstance(await ask(fault, "sleep:60000", timeout=0.3), errors.CallTimeout)
    assert await value(fault, "after") == "after->"


@pytest.mark.go
async def test_a_plugin_killed_in_the_middle_of_a_call_is_reported_at_once(fault) -> None:
    waiting = asyncio.ensure_future(ask(fault, "sleep:60000"))
    assert await value(fault, "first") == "first->"
    psutil.Process(fault.pid).kill()
    error = await waiting
    assert isinstance(error, errors.PluginCrashed)
    assert "killed by signal SIGKILL" in error.message


@pytest.mark.go
async def test_no_descriptor_is_left(start_backend, install, faultplugin, descriptors) -> None:
    import gc

    candidate = install("fault", faultplugin)

    async def once(wiring: Wiring) -> None:
        backend = await start_backend(candidate, wiring=wiring)
        await value(backend, "a")
        await backend.close()

    for wiring in (REQUIRED, BOTH, OFF):  # gRPC opens what it keeps
        await once(wiring)
    gc.collect()
    before = descriptors()
    for wiring in (REQUIRED, BOTH, OFF) * 3:
        await once(wiring)
    gc.collect()
    await until(lambda: descriptors() <= before)


# -------------------------------------------------------------------------------------------- sockets and their peers


@pytest.mark.go
async def test_ports_group_and_directory_reach_the_plugin(start_backend, install, faultplugin, socket_base) -> None:
    place = socket_base / "sockets"
    place.mkdir()
    wiring = Wiring(min_port=20_000, max_port=20_010, socket_group=str(os.getgid()), socket_directory=place)
    backend = await start_backend(install("fault", faultplugin), wiring=wiring)
    seen = json.loads(await value(backend, "env"))
    assert (seen["PLUGIN_MIN_PORT"], seen["PLUGIN_MAX_PORT"]) == ("20000", "20010")
    assert seen["PLUGIN_UNIX_SOCKET_GROUP"] == str(os.getgid())
    assert Path(seen["PLUGIN_UNIX_SOCKET_DIR"]).parent == place
    assert list(place.iterdir()) == []
    place.rmdir()


async def test_a_socket_of_another_process_of_the_same_user_is_worth_a_warning(start_backend, install) -> None:
    # A wrapper: the process that listens is its child.
    wrapper = SDK_PLUGIN.replace(
        "import os, sys\n", "import os, sys\nif os.fork():\n    os.wait()\n    os._exit(0)\n", 1
    )
    stream = io.StringIO()
    log = Log(Level.WARNING, as_json=True, stream=stream)
    backend = await start_backend(install("wrapped", wrapper), log=log)
    assert await value(backend, "a") == "a"
    (entry,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert entry["event"] == "another process listens on the plugin's socket"
    assert entry["started"] == str(backend.pid) or entry["started"] == backend.pid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can listen as somebody else")
@pytest.mark.parametrize("wiring", [OFF, Wiring()])
@pytest.mark.fault(22, "a socket of another user is refused")
async def test_a_socket_of_another_user_is_refused(start_backend, install, wiring) -> None:
    script = f"""#!{sys.executable} -IS
import os, socket, time
path = os.environ["PLUGIN_UNIX_SOCKET_DIR"] + "/plugin1"
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
os.setresuid(65534, 65534, 65534)
listener.listen()
print(f"1|1|unix|{{path}}|grpc", flush=True)
time.sleep(1000)
"""
    error = await refused(start_backend, install("foreign", script), wiring)
    assert "a process of the user 65534" in error.message


@pytest.mark.go
async def test_a_mode_for_one_plugin_goes_before_that_for_all(one_loop, install, faultplugin, socket_base) -> None:
    plugin_path = Path(install("fault", faultplugin).location).parents[1]
    install("other", faultplugin)
    asked = PluginSettings(auto_mtls=AutoMtls.REQUIRE, auto_mtls_for={"fault": AutoMtls.OFF})
    settings = Settings(plugin_path=(plugin_path,), plugins=asked)
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(socket_base)}
    registry = build.registry(settings, environment, Log(Level.OFF))
    try:
        without, with_tls = [json.loads(await value(await registry.open(name), "env")) for name in ("FAULT", "OTHER")]
    finally:
        await registry.close()
    assert "PLUGIN_CLIENT_CERT" not in without
    assert with_tls["PLUGIN_CLIENT_CERT"].startswith("-----BEGIN CERTIFICATE-----")
