"""A plugin built with the SDK as a process: where it listens, how it ends, what else it serves."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from waiting import PATIENCE, eventually

from injector._proto.goplugin.grpc_broker_pb2 import ConnInfo
from injector._proto.goplugin.grpc_stdio_pb2 import StdioData
from injector._proto.grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

if TYPE_CHECKING:
    from collections.abc import Callable

PLUGIN = """
import os, sys, time
from injector.sdk.serving import serve
from injector.sdk.store import LookupStore

class Demo(LookupStore):
    def look_up(self, reference):
        word, _, argument = reference.path.partition(":")
        if word == "sleep":
            time.sleep(float(argument))
        if word == "wait":  # until the test makes the file
            while not os.path.exists(argument):
                time.sleep(0.02)
        if word == "meet":
            arrived, _, flag = argument.partition(":")
            open(arrived, "w").close()
            while not os.path.exists(flag):
                time.sleep(0.02)
        if word == "print":
            sys.stdout.write(argument)
            sys.stdout.flush()
        if word == "flood":
            sys.stdout.write("z" * int(argument))
            sys.stdout.flush()
        if word == "size":
            return str(len(reference.raw_metadata))
        return word

serve(Demo(), name="demo", version="1.2.3", workers=int(os.environ.get("DEMO_WORKERS", "32")))
"""


@pytest.fixture
def program(python_plugin: Callable[..., Path]) -> Path:
    return python_plugin(source=PLUGIN)


@pytest.fixture
def start(start_plugin: Callable[..., Any], program: Path) -> Callable[..., Any]:
    return lambda **environment: start_plugin(program, **environment)


def mode(path: Path | str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def shut_down(plugin: Any) -> None:
    plugin.channel.unary_unary("/plugin.GRPCController/Shutdown")(b"", timeout=PATIENCE)


def health(plugin: Any, service: str) -> int:
    method = plugin.channel.unary_unary("/grpc.health.v1.Health/Check")
    return HealthCheckResponse.FromString(
        method(HealthCheckRequest(service=service).SerializeToString(), timeout=PATIENCE)
    ).status


# ------------------------------------------------------------------------------------------------------- the start


@pytest.mark.parametrize("environment", [{}, {"CONFIGMANAGER_PLUGIN": "something else"}])
@pytest.mark.fault(8, "the plugin says that it is one, and ends with 1")
def test_run_by_hand_it_says_what_it_is(program, environment):
    done = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "demo is a plugin of injector and configmanager" in done.stderr
    assert ".configmanager/plugins/<prefix>/<prefix>-linux-" in done.stderr


def test_version_and_help_are_no_errors(program):
    for argument, said in (("--version", "demo 1.2.3\n"), ("--help", "demo is a plugin")):
        done = subprocess.run([program, argument], env={}, capture_output=True, text=True, check=True)
        assert said in done.stdout
        assert done.stderr == ""


def test_run_by_hand_it_imports_nothing_heavy(program):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", program], env={}, capture_output=True, text=True, check=False
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "injector.sdk.serving" in imported
    assert not imported & {"grpc", "google.protobuf", "asyncio", "logging", "concurrent.futures"}


def test_by_default_the_socket_is_in_a_private_directory(start):
    plugin = start()
    path = Path(plugin.address)
    assert plugin.handshake[:3] == ["1", "1", "unix"]
    assert plugin.handshake[4:] == ["grpc", ""]
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


def test_the_hosts_directory_is_used_also_with_odd_characters(start):
    with tempfile.TemporaryDirectory(suffix=" %41 größe") as directory:
        plugin = start(PLUGIN_UNIX_SOCKET_DIR=directory)
        assert os.path.dirname(plugin.address) == directory
        assert mode(plugin.address) == 0o600
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(plugin.address)
        plugin.process.terminate()
        plugin.process.wait(PATIENCE)
        assert os.listdir(directory) == []


def test_a_temporary_directory_too_deep_for_a_socket_is_passed_over(start, tmp_path):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    plugin = start(TMPDIR=str(deep))
    assert plugin.address.startswith("/tmp/injector-plugin-")
    assert mode(Path(plugin.address).parent) == 0o700
    plugin.process.terminate()
    assert_ended(plugin)


@pytest.mark.parametrize("with_directory", [True, False])
def test_a_group_gets_the_socket(start, with_directory):
    group = os.getgid()
    environment = {"PLUGIN_UNIX_SOCKET_GROUP": str(group)}
    if with_directory:
        environment["PLUGIN_UNIX_SOCKET_DIR"] = "/tmp"
    plugin = start(**environment)
    assert mode(plugin.address) == 0o660
    assert os.stat(plugin.address).st_gid == group
    if not with_directory:
        assert mode(Path(plugin.address).parent) == 0o710
    assert plugin.value("a") == "a"


def refusal_of(program: Path, tmp_path: Path, **environment: str) -> str:
    base = {"CONFIGMANAGER_PLUGIN": "configmanager-plugin-hello", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [program], env=base | environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PLUGIN_CLIENT_CERT": "-----BEGIN CERTIFICATE-----"}, "PLUGIN_CLIENT_CERT is not a certificate"),
        ({"PLUGIN_MIN_PORT": "20000", "PLUGIN_MAX_PORT": "10000"}, "PLUGIN_MIN_PORT 20000 is above"),
        ({"PLUGIN_MIN_PORT": "x"}, "PLUGIN_MIN_PORT is not a port: 'x'"),
        ({"PLUGIN_UNIX_SOCKET_GROUP": "no-such-group"}, "names no group of this machine"),
    ],
)
def test_a_wish_that_cannot_be_granted_ends_the_start_in_words(program, tmp_path, environment, said):
    assert said in refusal_of(program, tmp_path, **environment)
    assert list(tmp_path.glob("injector-plugin-*")) == []


def test_a_host_that_has_gone_during_the_start_leaves_nothing(program, tmp_path):
    read, write = os.pipe()
    os.close(read)
    environment = {"CONFIGMANAGER_PLUGIN": "configmanager-plugin-hello", "TMPDIR": "/tmp", "PLUGIN_UNIX_SOCKET_DIR": ""}
    done = subprocess.run([program], env=environment, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 1
    assert "the host has gone" in done.stderr


@pytest.mark.parametrize("directory", ["/nonexistent/directory", "/tmp/" + "d" * 120])
@pytest.mark.fault(22, "without a directory our plugins take a loopback port")
def test_without_a_usable_directory_it_listens_on_a_loopback_port_in_the_range(start, directory):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first = taken.getsockname()[1]
        plugin = start(
            PLUGIN_UNIX_SOCKET_DIR=directory, PLUGIN_MIN_PORT=str(first), PLUGIN_MAX_PORT=str(min(first + 50, 65535))
        )
        assert plugin.handshake[2] == "tcp"
        host, _, port = plugin.address.partition(":")
        assert host == "127.0.0.1"
        assert first < int(port) <= first + 50
    assert plugin.value("a") == "a"
    assert plugin.logged("loopback port")["@level"] == "warn"


def test_bad_entries_among_the_versions_are_skipped_and_logged(start):
    plugin = start(PLUGIN_PROTOCOL_VERSIONS="1,zwei,")
    assert plugin.handshake[1] == "1"
    assert plugin.logged("zwei")["@level"] == "warn"


def test_multiplexing_is_answered_only_when_asked_for(start):
    assert len(start().handshake) == 6
    assert start(PLUGIN_MULTIPLEX_GRPC="true").handshake[6:] == ["true"]


# ------------------------------------------------------------------------------------------------------ the services


def test_health_knows_the_plugin_and_nothing_else(start):
    plugin = start()
    assert health(plugin, "plugin") == HealthCheckResponse.SERVING
    assert health(plugin, "") == HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        health(plugin, "other")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_answers_while_all_workers_wait_for_a_backend(start, tmp_path):
    plugin = start(DEMO_WORKERS="2")
    flag = tmp_path / "go"
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(plugin.value, f"wait:{flag}") for _ in range(4)]
        assert health(plugin, "plugin") == HealthCheckResponse.SERVING
        flag.touch()
        assert [call.result() for call in calls] == ["wait"] * 4


def test_a_call_that_the_host_gave_up_before_its_turn_never_reaches_the_store(start, tmp_path):
    plugin = start(DEMO_WORKERS="1")
    arrived, flag, never = tmp_path / "arrived", tmp_path / "go", tmp_path / "never"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(plugin.value, f"meet:{arrived}:{flag}")
        eventually(arrived.exists)
        with pytest.raises(grpc.RpcError):
            plugin.value(f"wait:{never}", timeout=0.3)
        time.sleep(2)  # the server has the same deadline by its own clock, and nothing tells when it has noticed
        flag.touch()
        assert first.result() == "meet"
    assert plugin.value("after", timeout=PATIENCE) == "after"  # the one worker does not wait for `never`


def test_a_request_of_20_mb_is_taken(start):
    assert start().value("size", "m" * 20_000_000) == "20000000"


@pytest.mark.parametrize("data", [b"\x0a\x01\xff", b"\x0a\xff\xff", b"\x12\x01\xff"])
def test_a_request_that_is_none_is_refused(start, data):
    plugin = start()
    with pytest.raises(grpc.RpcError) as caught:
        plugin.channel.unary_unary("/proto.TokenStore/Value")(data, timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_output_waits_for_the_host_and_is_given_out_once(start):
    plugin = start()
    plugin.value("print:before")
    stream = plugin.channel.unary_stream("/plugin.GRPCStdio/StreamStdio")(b"")
    assert StdioData.FromString(next(stream)) == StdioData(channel=StdioData.STDOUT, data=b"before")
    plugin.value("print:after")
    assert StdioData.FromString(next(stream)).data == b"after"
    stream.cancel()


def test_the_newest_reader_gets_the_output(start):
    plugin = start()
    method = plugin.channel.unary_stream("/plugin.GRPCStdio/StreamStdio")
    plugin.value("print:one")
    old = method(b"")
    assert StdioData.FromString(next(old)).data == b"one"
    new = method(b"")
    assert list(old) == []  # ended by the plugin
    plugin.value("print:two")
    assert StdioData.FromString(next(new)).data == b"two"
    new.cancel()


def test_output_that_nobody_fetches_blocks_nothing_and_the_newest_is_kept(start):
    plugin = start()
    assert plugin.value("flood:5000000") == "flood"
    plugin.value("print:the end")
    stream = plugin.channel.unary_stream("/plugin.GRPCStdio/StreamStdio")(b"")
    kept = b""
    while not kept.endswith(b"the end"):
        kept += StdioData.FromString(next(stream)).data
    stream.cancel()
    assert len(kept) < 200_000  # what the queue and the pipe hold


def test_a_host_that_knocks_for_a_connection_is_told_that_there_is_none(start):
    plugin = start()
    ended = threading.Event()

    def knock():
        yield b"\x09"  # no ConnInfo: passed over
        yield ConnInfo(service_id=7, knock=ConnInfo.Knock(knock=True)).SerializeToString()
        ended.wait(PATIENCE)

    stream = plugin.channel.stream_stream("/plugin.GRPCBroker/StartStream")(knock())
    answer = ConnInfo.FromString(next(stream))
    ended.set()
    assert (answer.service_id, answer.knock.ack, answer.knock.knock) == (7, True, False)
    assert "brokers no connections" in answer.knock.error


def test_broker_streams_stay_open_and_are_limited(start):
    plugin = start()
    ended = threading.Event()

    def nothing_to_say():
        ended.wait(PATIENCE)
        yield from ()

    method = plugin.channel.stream_stream("/plugin.GRPCBroker/StartStream")
    streams = [method(nothing_to_say()) for _ in range(4)]
    assert health(plugin, "plugin") == HealthCheckResponse.SERVING
    assert all(stream.is_active() for stream in streams)
    with pytest.raises(grpc.RpcError) as caught:
        next(method(nothing_to_say()))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    ended.set()


# ----------------------------------------------------------------------------------------------------------- the end


def assert_ended(plugin: Any) -> None:
    assert plugin.process.wait(PATIENCE) == 0
    assert not Path(plugin.address).exists()
    assert not Path(plugin.address).parent.exists()


def test_shutdown_is_answered_and_ends_the_process(start):
    plugin = start()
    shut_down(plugin)
    assert_ended(plugin)


def test_a_call_under_way_is_answered_before_the_end(start, tmp_path):
    plugin = start()
    arrived, flag = tmp_path / "arrived", tmp_path / "go"
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(plugin.value, f"meet:{arrived}:{flag}")
        eventually(arrived.exists)
        shut_down(plugin)
        flag.touch()
        assert call.result() == "meet"
    assert_ended(plugin)


def test_sigterm_ends_it_and_sigint_does_not(start):
    plugin = start()
    plugin.process.send_signal(signal.SIGINT)
    assert plugin.value("a") == "a"
    plugin.process.send_signal(signal.SIGTERM)
    assert_ended(plugin)


DEAF = """
import signal, threading, time
from injector.sdk import serving
from injector.sdk.store import LookupStore

class Demo(LookupStore):
    def prepare(self):
        time.sleep(0.5)  # until the main thread waits
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        threading.Event().wait()

    def look_up(self, reference):
        return "a"

serving._PARENT_CHECK_MS = 3_600_000  # nothing else ends the wait
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # for all threads that come
serving.serve(Demo(), name="demo")
"""


def test_sigterm_ends_it_although_it_does_not_interrupt_the_main_thread(start_plugin, python_plugin):
    plugin = start_plugin(python_plugin(source=DEAF))
    plugin.process.send_signal(signal.SIGTERM)
    assert_ended(plugin)


def test_sigterm_ends_it_while_calls_hang(start, tmp_path):
    plugin = start()
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(plugin.value, f"wait:{tmp_path / 'never'}") for _ in range(3)]
        assert plugin.value("a") == "a"
        plugin.process.send_signal(signal.SIGTERM)
        assert_ended(plugin)
        assert all(isinstance(call.exception(), grpc.RpcError) for call in calls)


def test_it_ends_when_the_host_closes_its_end_of_the_handshake(start):
    plugin = start()
    plugin.process.stdout.close()
    assert_ended(plugin)
