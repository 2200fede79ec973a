"""
HTTP, over TLS or not: uvicorn's protocol with limits that it lacks, behind a listener of our own.

A connection has 5 s for the handshake, a request 5 s from its first byte to the end of its head; the body's time is the
application's business. When there are too many connections the one that has waited longest for a request is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from h11 import Data, EndOfMessage, LocalProtocolError, Response
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

    from injector.telemetry.logs import Log

HANDSHAKE_TIME: Final = 5.0
HEAD_TIME: Final = 5.0
IDLE_TIME: Final = 120.0
"""Above the API server's own 90 s: who closes first decides, and a request on its way must not meet a closed door."""
MOST_CONNECTIONS: Final = 1_000
_LARGEST_HEAD: Final = 64 * 1024
_TLS_END: Final = 2.0


class _Corked(asyncio.Transport):
    """
    A transport that sends what is written in one turn of the loop at once. uvicorn writes head and body by themselves:
    two TLS records, and two calls of the system, which are the dearest part of an answer.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(bytes(data))

    def _flush(self) -> None:
        if self._waiting:
            self._transport.write(b"".join(self._waiting))
            self._waiting.clear()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._waiting.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)


class _Protocol(H11Protocol):
    """uvicorn's, with a time for the head, and a place in the queue of those that wait."""

    _head_timer: asyncio.TimerHandle | None = None
    most_connections = MOST_CONNECTIONS
    waiting_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        _close_longest_waiting(self.connections, self.most_connections)
        self.waiting_since = time.monotonic()
        super().connection_made(_Corked(transport, self.loop))
        self.timeout_keep_alive_task = self.loop.call_later(IDLE_TIME, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        if not self.is_busy and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIME, self.transport.abort)
        try:
            super().data_received(data)
        except LocalProtocolError:  # nonsense behind a request that is being answered: there is no place for a 400
            self.transport.abort()
        if self.is_busy:
            self._disarm()

    def on_response_complete(self) -> None:
        self.waiting_since = time.monotonic()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def send_400_response(self, msg: str) -> None:
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        answer = Response(status_code=400, headers=self.server_state.default_headers + headers, reason=b"Bad Request")
        for event in (answer, Data(data=msg.encode()), EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first, whatever uvicorn says
        return cycle is not None and not cycle.response_complete

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _close_longest_waiting(connections: Any, most: int) -> None:
    if len(connections) < most:
        return
    waiting = [connection for connection in connections if not connection.is_busy]
    if waiting:
        longest = min(waiting, key=lambda connection: connection.waiting_since)
        connections.discard(longest)
        longest.transport.abort()


class _Forward(logging.Handler):
    """What uvicorn logs, without its tracebacks, which may quote what was sent."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            kind = record.exc_info[0].__qualname__ if record.exc_info and record.exc_info[0] else ""
            self._log.error("the server failed", what=str(record.msg).strip(), error=kind)
        else:
            self._log.debug("http", what=str(record.msg).strip())


class Listener:
    """
    Serves the ASGI application *app* on *host* and *port* (0: a free one), with the certificate of *context*, without
    TLS when that is None. *headers* are on every answer, also on those that the application has no part in.
    """

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        log: Log,
        *,
        headers: Mapping[str, str] | None = None,
        most_connections: int = MOST_CONNECTIONS,
    ) -> None:
        self._config = Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            http=_Protocol,
            loop="asyncio",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=int(IDLE_TIME),
            h11_max_incomplete_event_size=_LARGEST_HEAD,
        )
        self._where = (host or None, port)
        self._context = context
        self._log = log
        self._most_connections = most_connections
        self._state = ServerState()
        self._state.default_headers = [
            (name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()
        ]
        self._server: asyncio.Server | None = None
        self._handler = _Forward(log)

    async def start(self) -> int:
        """Listens; the port. Raises OSError when the address is not to be had."""
        logger = logging.getLogger("uvicorn.error")
        logger.propagate = False
        logger.addHandler(self._handler)
        self._config.load()
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol,
            *self._where,
            ssl=self._context,
            ssl_handshake_timeout=HANDSHAKE_TIME if self._context else None,
            ssl_shutdown_timeout=_TLS_END if self._context else None,
            backlog=1024,
        )
        return int(self._server.sockets[0].getsockname()[1])

    def _protocol(self) -> asyncio.Protocol:
        protocol = _Protocol(config=self._config, server_state=self._state, app_state={})
        protocol.most_connections = self._most_connections
        return protocol

    async def stop(self, grace: float) -> None:
        """Takes no more connections; requests that are here are answered, for *grace* seconds at most."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._state.tasks or self._state.connections:  # noqa: ASYNC110  # uvicorn tells nobody
                    await asyncio.sleep(0.02)
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
        logging.getLogger("uvicorn.error").removeHandler(self._handler)
