"""
A small HTTP server in a thread and event loop of its own: it answers also when the program's loop does not turn.

One request for each connection, no keep-alive. What a client can hold is bounded: connections, time, size of a
request. Above the bound the connection that has been waiting longest for its request is closed, so idle ones never
keep out a probe. See docs/decisions/0080.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from msgspec import Struct

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping, Sequence

MOST_CONNECTIONS: Final = 64
PATIENCE: Final = 5.0  # seconds for a whole request to arrive, and for its answer to be taken
LARGEST_HEAD: Final = 16 * 1024
_LARGEST_BODY: Final = 64 * 1024  # nothing here takes one; it is read so that the answer is not lost by a reset
_MOST_HEADERS: Final = 100
_MOST_DISCARDED: Final = 1024 * 1024


class Request(Struct, frozen=True):
    """A request without its body. Names of headers are in lower case; of repeated ones the last counts."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


class Response(Struct, frozen=True):
    """An answer; `headers` come beside those that every answer has."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = {}


def text(status: int, body: str, **headers: str) -> Response:
    """A plain answer, with a line break at its end; `_` in the names of headers stands for `-`."""
    return Response(
        status, f"{body}\n".encode(), headers={key.replace("_", "-"): value for key, value in headers.items()}
    )


class _Refused(Exception):
    """A request that is not answered by the handler."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(body)
        self.response = text(status, body)


class HttpServer:
    """
    Serves *handle* on sockets that are bound already, until `close`.

    Args:
        name: of the thread.
        listeners: bound sockets, which belong to the server from then on.
        handle: called in the server's own loop; what it raises is answered with 500 and no details.
        patience: seconds, see `PATIENCE`. The handler's own time is not limited.
    """

    def __init__(
        self,
        name: str,
        listeners: Sequence[socket.socket],
        handle: Callable[[Request], Awaitable[Response]],
        *,
        most_connections: int = MOST_CONNECTIONS,
        patience: float = PATIENCE,
    ) -> None:
        self._listeners = listeners
        self._handle = handle
        self._most = most_connections
        self._patience = patience
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reading: dict[asyncio.Task[Any], None] = {}  # in the order of their coming
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name=name, daemon=True)

    def start(self) -> None:
        """Returns when connections are taken."""
        self._thread.start()
        self._is_ready.wait()

    def close(self) -> None:
        """Drops every connection and ends the thread. May be called more than once, and from the program's loop."""
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        for listener in self._listeners:
            listener.close()

    async def _main(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        # Out of descriptors, a client that is gone: nothing that a line of ours would help with.
        loop.set_exception_handler(lambda _loop, _context: None)
        servers = []
        try:
            for listener in self._listeners:
                servers.append(  # noqa: PERF401  # on a failure the opened ones must be known
                    await asyncio.start_server(self._serve, sock=listener, limit=LARGEST_HEAD, backlog=128)
                )
            self._is_ready.set()
            await self._stop.wait()
        finally:
            self._is_ready.set()
            for server in servers:
                server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if not self._make_room():
            writer.transport.abort()
            return
        self._tasks.add(task)
        self._reading[task] = None
        try:
            with contextlib.suppress(TimeoutError, OSError):  # too slow, or gone
                await self._exchange(task, reader, writer)
        finally:
            writer.transport.abort()  # does nothing to what is closed already
            self._tasks.discard(task)
            self._reading.pop(task, None)

    def _make_room(self) -> bool:
        if len(self._tasks) < self._most:
            return True
        oldest = next(iter(self._reading), None)
        if oldest is None:
            return False
        self._reading.pop(oldest)
        self._tasks.discard(oldest)
        oldest.cancel()
        return True

    async def _exchange(
        self, task: asyncio.Task[Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        method = ""
        try:
            async with asyncio.timeout(self._patience):
                request = await _read(reader)
        except _Refused as refusal:
            response, refused = refusal.response, True
        except asyncio.IncompleteReadError:
            writer.transport.abort()
            return
        else:
            method = request.method
            self._reading.pop(task, None)
            response = await self._respond(request)
            refused = False
        async with asyncio.timeout(self._patience):
            writer.write(_encode(response, with_body=method != "HEAD"))
            await writer.drain()
            if refused:  # closing on what was not read resets the connection, and the answer may be lost
                writer.write_eof()
                await _discard(reader)
            writer.close()
            await writer.wait_closed()

    async def _respond(self, request: Request) -> Response:
        try:
            return await self._handle(request)
        except Exception as error:  # noqa: BLE001  # the border: a fault of one answer must not end the server
            return text(500, f"internal error: {type(error).__qualname__}")


async def _read(reader: asyncio.StreamReader) -> Request:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise _Refused(431, "the request's head is too large") from None
    lines = head[:-4].decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[1].startswith("/"):
        raise _Refused(400, "this is no HTTP/1.1 request")
    if len(lines) > _MOST_HEADERS:
        raise _Refused(431, "the request has too many headers")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise _Refused(400, "a header is malformed")
        headers[name.lower()] = value.strip()
    await _skip_body(reader, headers)
    path, _, query = parts[1].partition("?")
    return Request(parts[0], path, dict(parse_qsl(query, keep_blank_values=True)), headers)


async def _skip_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> None:
    if "transfer-encoding" in headers:
        raise _Refused(411, "send no body, or one with a Content-Length")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise _Refused(400, "the Content-Length is no number")
    if len(length) > 9 or int(length) > _LARGEST_BODY:
        raise _Refused(413, "no body is expected here")
    await reader.readexactly(int(length))


async def _discard(reader: asyncio.StreamReader) -> None:
    left = _MOST_DISCARDED
    while left > 0 and (data := await reader.read(65536)):
        left -= len(data)


def _encode(response: Response, *, with_body: bool) -> bytes:
    headers = {
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        **response.headers,
    }
    reason = http.HTTPStatus(response.status).phrase
    head = f"HTTP/1.1 {response.status} {reason}\r\n" + "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    return head.encode("latin-1") + b"\r\n" + (response.body if with_body else b"")
