"""
`host:http/v1`: HTTP for guests that have no Extism, as two imports. Offered only to plugins that were granted hosts.

    request(frame, frame_length, response_length) -> i32   a handle above 0, or a code below; the frame's length is
                                                           written to response_length (u32, little-endian)
    read(handle, pointer, capacity) -> i32                 bytes written; the handle is gone then
    frame = u32 (little-endian) length of the head, the head as JSON, the body

The head of a request is {"method", "url", "headers": {name: [value]}, "sign": {"kind", …}, "timeout_ms", "rate_limit"}
(see docs/wasm-plugins.md), that of a response
{"status", "headers": {name: [value]}}, or {"error": text} when there is none: a refusal is an answer, so that the
guest's own error handling sees it. Two steps, so that a buffer that was too small never sends a request twice.
"""

from __future__ import annotations

import json
import struct
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from injector.backends.wasm.host_function import HostFunction
from injector.backends.wasm.http_client import HttpRequest
from injector.errors import InjectorError, PluginAnswerInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.backends.wasm.http_client import HttpClient, HttpResponse
    from injector.backends.wasm.instance import Instance

MODULE: Final = "host:http/v1"
NOT_A_FRAME: Final = -1
NO_SUCH_HANDLE: Final = -2
BUFFER_TOO_SMALL: Final = -3
TOO_MANY_OPEN: Final = -4

_STATE: Final = "http"  # in Instance.state: the responses that were not read yet
_MOST_OPEN: Final = 16
_FRAME_OVERHEAD: Final = 256 * 1024


class _Head(Struct, frozen=True):
    method: str
    url: str
    headers: dict[str, list[str]] = {}
    sign: dict[str, str] | None = None
    timeout_ms: Annotated[int, Meta(ge=1)] | None = None
    rate_limit: Annotated[float, Meta(ge=1e-6, le=1e6)] | None = None


def http_functions(client: HttpClient) -> tuple[HostFunction, ...]:
    """The imports of `host:http/v1` over *client*; none when it was granted no host."""
    if not client.is_granted:
        return ()
    return (
        HostFunction(MODULE, "request", ("i32", "i32", "i32"), "i32", partial(_request, client=client), failed=-1),
        HostFunction(MODULE, "read", ("i32", "i32", "i32"), "i32", _read, failed=-1),
    )


def seconds_left(instance: Instance) -> Callable[[], float]:
    """What a request of *instance* has for its clock: raises as soon as the call was cancelled."""

    def left() -> float:
        instance.check()
        return instance.deadline.left()

    return left


def _request(instance: Instance, pointer: int, length: int, length_at: int, *, client: HttpClient) -> int:
    if not 4 <= length <= client.policy.max_request_bytes + _FRAME_OVERHEAD:
        return NOT_A_FRAME
    request = _parsed(instance.read(pointer, length))
    if request is None:
        return NOT_A_FRAME
    instance.read(length_at, 4)  # a bad pointer is found before anything is sent
    open_responses: dict[int, bytes] = instance.state.setdefault(_STATE, {})
    if len(open_responses) >= _MOST_OPEN:
        return TOO_MANY_OPEN
    try:
        frame = _answer(client.send(request, seconds_left(instance)))
    except InjectorError as error:
        instance.check()  # over or cancelled: then nobody waits for the guest's own account of it
        frame = _frame({"error": error.message}, b"")
    handle = instance.state["http-handles"] = instance.state.get("http-handles", 0) + 1
    open_responses[handle] = frame
    instance.write(length_at, struct.pack("<I", len(frame)))
    return int(handle)


def _read(instance: Instance, handle: int, pointer: int, capacity: int) -> int:
    open_responses: dict[int, bytes] = instance.state.get(_STATE, {})
    frame = open_responses.get(handle)
    if frame is None:
        return NO_SUCH_HANDLE
    if capacity < len(frame):
        return BUFFER_TOO_SMALL
    try:
        instance.write(pointer, frame)
    except PluginAnswerInvalid:
        open_responses.clear()
        raise
    del open_responses[handle]
    return len(frame)


def _parsed(frame: bytes) -> HttpRequest | None:
    (length,) = struct.unpack_from("<I", frame)
    if length > len(frame) - 4:
        return None
    try:
        head = msgspec.json.decode(frame[4 : 4 + length], type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    headers = tuple((name, value) for name, several in head.headers.items() for value in several)
    timeout = None if head.timeout_ms is None else head.timeout_ms / 1000
    return HttpRequest(head.method, head.url, headers, frame[4 + length :], head.sign, timeout, head.rate_limit)


def _answer(response: HttpResponse) -> bytes:
    headers: dict[str, list[str]] = {}
    for name, value in response.headers:
        headers.setdefault(name, []).append(value)
    return _frame({"status": response.status, "headers": headers}, response.body)


def _frame(head: dict[str, Any], body: bytes) -> bytes:
    encoded = json.dumps(head).encode()
    return struct.pack("<I", len(encoded)) + encoded + body
