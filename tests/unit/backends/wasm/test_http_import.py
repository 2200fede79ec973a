"""`host:http/v1`: a reactor that reads a value by HTTP, and guests that use the imports wrongly."""

from __future__ import annotations

import json
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest
from fixtures_http import OK
from wasm_modules import data, reactor

from injector import errors
from injector.backends.wasm.http_client import HttpClient
from injector.backends.wasm.http_import import NOT_A_FRAME, http_functions
from injector.backends.wasm.http_policy import HttpPolicy, parse_rule
from injector.backends.wasm.signing import Bearer, Grant, Signers
from injector.telemetry.logs import Level, Log

if TYPE_CHECKING:
    from collections.abc import Callable

IMPORTS = """
  (import "host:http/v1" "request" (func $request (param i32 i32 i32) (result i32)))
  (import "host:http/v1" "read" (func $read (param i32 i32 i32) (result i32)))"""
LENGTH_AT = 16  # where guests have the length of the response's frame
FRAME_AT = 64


def frame(head: Any, body: bytes = b"") -> bytes:
    encoded = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<I", len(encoded)) + encoded + body


def functions(*hosts: str, signers: Signers | None = None, **policy: Any) -> Any:
    rules = tuple(map(parse_rule, hosts))
    client = HttpClient(
        HttpPolicy(hosts=rules, **policy),
        signers or Signers(),
        environment={},
        log=Log(Level.OFF),
        identity="demo:conn-1",
    )
    return http_functions(client)


def asking(content: bytes, *, length: int | None = None, length_at: int = LENGTH_AT, then: str = "") -> bytes:
    """
    A reactor that asks with *content*. Its value is the response's frame, or, without one, the code as four bytes.

    *then* is done after the request, and may put another number into the global $handle.
    """
    size = len(content) if length is None else length
    return reactor(
        f"""
    (global.set $handle (call $request (i32.const {FRAME_AT}) (i32.const {size}) (i32.const {length_at})))
    {then}
    (if (i32.le_s (global.get $handle) (i32.const 0)) (then
      (i32.store (local.get $out) (global.get $handle))
      (i32.store (local.get $lenp) (i32.const 4))
      (return (i32.const 0))))
    (i32.store (local.get $lenp) (i32.load (i32.const {LENGTH_AT})))
    (local.set $i (call $read (global.get $handle) (local.get $out) (local.get $cap)))
    (if (i32.lt_s (local.get $i) (i32.const 0)) (then
      (i32.store (local.get $out) (local.get $i))
      (i32.store (local.get $lenp) (i32.const 4))))
    (return (i32.const 0))""",
        imports=IMPORTS,
        extra=data(FRAME_AT, content) + "(global $handle (mut i32) (i32.const 0))",
    )


def parsed(value: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack_from("<I", value)
    return json.loads(value[4 : 4 + length]), value[4 + length :]


@pytest.fixture
def ask(outcome: Callable[..., Any]) -> Callable[..., Any]:
    """`ask(frame, functions, …)`: head and body of the response, or the code, or the error."""

    def run(content: bytes, offered: Any, *, timeout: float = 30, **options: Any) -> Any:
        value = outcome(asking(content, **options), functions=offered, timeout=timeout)
        if isinstance(value, Exception):
            return value
        return struct.unpack("<i", value)[0] if len(value) == 4 else parsed(value)

    return run


def test_a_reactor_reads_by_http(ask, serve) -> None:
    server = serve(OK)
    head = {"method": "POST", "url": f"{server.origin}/x", "headers": {"X-Mine": ["1", "2"]}}
    answer, body = ask(frame(head, b"sent"), functions(server.origin))
    assert answer == {"status": 200, "headers": {"content-length": ["2"], "x-a": ["1", "2"]}}
    assert body == b"hi"
    assert b"x-mine: 1\r\nx-mine: 2\r\n" in server.heads[0]
    assert server.heads[0].endswith(b"\r\n\r\nsent")


def test_a_reactor_may_limit_a_request_and_hears_of_it(ask, serve) -> None:
    server = serve(lambda connection, head: connection.recv(1))
    head = {"method": "GET", "url": server.origin, "timeout_ms": 200, "rate_limit": 5}
    answer, _ = ask(frame(head), functions(server.origin))
    assert "did not answer within 0.2 s, the plugin's own limit" in answer["error"]
    assert ask(frame(head | {"timeout_ms": 0}), functions(server.origin)) == NOT_A_FRAME


def test_the_host_signs_what_the_guest_asks_for(ask, serve) -> None:
    server = serve(OK)
    grants = Signers((Grant((parse_rule(server.origin),), Bearer("t0ken")),))
    head = {"method": "GET", "url": server.origin, "sign": {"kind": "bearer"}}
    assert ask(frame(head), functions(server.origin, signers=grants))[0]["status"] == 200
    assert b"authorization: Bearer t0ken\r\n" in server.heads[0]
    answer, _ = ask(frame(head | {"sign": {"kind": "vault"}}), functions(server.origin, signers=grants))
    assert "not granted" in answer["error"]
    assert len(server.heads) == 1


def test_a_refusal_is_an_answer(ask, serve) -> None:
    server = serve(OK)
    answer, body = ask(frame({"method": "GET", "url": "http://127.0.0.1:1/"}), functions(server.origin))
    assert (answer, body) == ({"error": "a request to http://127.0.0.1:1 is not allowed"}, b"")
    assert server.heads == []


def test_a_plugin_without_hosts_is_not_offered_the_imports(flavour) -> None:
    assert functions() == ()
    with pytest.raises(errors.PluginRefused, match="host:http/v1::read, host:http/v1::request"):
        flavour(asking(frame({})), functions=functions())


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (frame(b"not JSON"), {}),
        (frame(b"\xff"), {}),
        (frame({"method": "GET"}), {}),
        (frame({"method": "GET", "url": "http://x.test", "headers": {"a": "b"}}), {}),
        (struct.pack("<I", 0xFFFFFFFF) + b"{}", {}),
        (frame({}), {"length": 3}),
        (frame({}), {"length": -1}),
        (frame({}), {"length": 2_000_000_000}),
    ],
)
def test_what_is_no_frame_is_a_code(ask, content: bytes, options: dict[str, int]) -> None:
    assert ask(content, functions("http://127.0.0.1:1"), **options) == -1


@pytest.mark.parametrize("options", [{"length": 1_000_000}, {"length_at": 0x7FFFFFF0}, {"length_at": -2}])
def test_a_pointer_outside_of_the_memory_sends_nothing(ask, serve, options: dict[str, int]) -> None:
    server = serve(OK)
    error = ask(frame({"method": "GET", "url": server.origin}), functions(server.origin), **options)
    assert isinstance(error, errors.PluginAnswerInvalid)
    assert server.heads == []


def test_a_handle_is_read_once_and_by_its_number(ask, serve) -> None:
    server = serve(OK)
    content = frame({"method": "GET", "url": server.origin})
    once = "(drop (call $read (global.get $handle) (i32.const 1024) (i32.const 4096)))"
    assert ask(content, functions(server.origin), then=once) == -2
    other = "(global.set $handle (i32.const 77))"
    assert ask(content, functions(server.origin), then=other) == -2


def test_a_buffer_that_is_too_small_does_not_send_again(ask, serve) -> None:
    server = serve(OK)
    read = "(call $read (global.get $handle) (i32.const 1024) (i32.const 5))"
    small = f"(if (i32.ne {read} (i32.const -3)) (then unreachable))"
    answer, _ = ask(frame({"method": "GET", "url": server.origin}), functions(server.origin), then=small)
    assert answer["status"] == 200
    assert len(server.heads) == 1


def test_responses_that_nobody_reads_are_bounded(ask, serve) -> None:
    server = serve(OK)
    again = f"""(loop $more
      (global.set $handle (call $request (i32.const {FRAME_AT}) (i32.load (i32.const 8)) (i32.const {LENGTH_AT})))
      (br_if $more (i32.gt_s (global.get $handle) (i32.const 0))))"""
    content = frame({"method": "GET", "url": server.origin})
    size = f"(i32.store (i32.const 8) (i32.const {len(content)}))"
    assert ask(content, functions(server.origin), then=size + again) == -4
    assert len(server.heads) == 16


def test_a_slow_server_ends_the_call(ask, serve) -> None:
    ended = threading.Event()
    server = serve(lambda connection, head: ended.wait(100))
    try:
        error = ask(frame({"method": "GET", "url": server.origin}), functions(server.origin), timeout=2)
    finally:
        ended.set()
    assert isinstance(error, errors.CallTimeout)
