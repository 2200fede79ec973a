"""
A yamux session on an asyncio connection: each of its streams is an asyncio transport.

Back-pressure is per stream: one whose reader pauses is given no more window, while the others go on; one whose peer
gives no window pauses its writer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from injector.wire import yamux

if TYPE_CHECKING:
    from collections.abc import Callable

_HIGH_WATER = 64 * 1024  # bytes of a stream that wait for window or wire
_LINGER = 5.0  # seconds that a peer has for its own end of a stream that we have closed


class Multiplexer(asyncio.Protocol):
    """
    The protocol of the shared connection.

    Args:
        session: this end of yamux.
        accept: makes the protocol of each stream that the peer opens.
    """

    def __init__(self, session: yamux.Session, accept: Callable[[], asyncio.Protocol] | None = None) -> None:
        self._session = session
        self._accept = accept
        self._wire: asyncio.Transport | None = None
        self._streams: dict[int, StreamTransport] = {}
        self._is_blocked = False
        self.failure: yamux.ProtocolError | None = None
        """Why the session ended, when the peer was at fault."""

    def open(self, protocol: asyncio.Protocol) -> StreamTransport:
        """A new stream for *protocol*. Raises yamux.SessionOver."""
        stream = self._attach(self._session.open(), protocol)
        self.flush()
        return stream

    def close(self) -> None:
        """Says good-bye and closes the connection; its streams are lost."""
        self._session.go_away()
        self.flush()
        if self._wire is not None:
            self._wire.close()

    def flush(self) -> None:
        """Sends what can be sent."""
        wire = self._wire
        if wire is None or wire.is_closing() or self._is_blocked:
            return
        data = self._session.take()
        if data:
            wire.write(data)
            for stream in list(self._streams.values()):
                stream.watch_buffer()

    @property
    def is_blocked(self) -> bool:
        """The wire takes nothing at the moment."""
        return self._is_blocked

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._wire = transport

    def data_received(self, data: bytes) -> None:
        try:
            events = self._session.receive(data)
        except yamux.ProtocolError as error:
            self._fail(error)
            return
        for event in events:
            self._handle(event)
        self.flush()

    def pause_writing(self) -> None:
        self._is_blocked = True
        for stream in list(self._streams.values()):
            stream.watch_buffer()

    def resume_writing(self) -> None:
        self._is_blocked = False
        self.flush()
        for stream in list(self._streams.values()):
            stream.watch_buffer()

    def connection_lost(self, exc: Exception | None) -> None:
        for stream in list(self._streams.values()):
            stream.lost(exc)
        self._streams.clear()

    def forget(self, number: int) -> None:
        """A stream is over."""
        self._streams.pop(number, None)

    def _attach(self, number: int, protocol: asyncio.Protocol) -> StreamTransport:
        assert self._wire is not None
        stream = self._streams[number] = StreamTransport(number, self, self._session, protocol, self._wire)
        protocol.connection_made(stream)
        return stream

    def _handle(self, event: yamux.Event) -> None:
        if isinstance(event, yamux.Opened):
            if self._accept is None:
                self._session.reset(event.stream)
            else:
                self._attach(event.stream, self._accept())
        elif isinstance(event, yamux.GoneAway):
            if event.code != yamux.NORMAL and self._wire is not None:
                self._wire.close()
        elif (stream := self._streams.get(event.stream)) is not None:
            stream.handle(event)

    def _fail(self, error: yamux.ProtocolError) -> None:
        self.failure = error
        self.flush()
        if self._wire is not None:
            self._wire.close()
        for stream in list(self._streams.values()):
            stream.lost(ConnectionResetError(str(error)))
        self._streams.clear()


class StreamTransport(asyncio.Transport):
    """One stream. Behaves as a socket's transport does; `write_eof` half-closes it."""

    def __init__(
        self,
        number: int,
        owner: Multiplexer,
        session: yamux.Session,
        protocol: asyncio.Protocol,
        wire: asyncio.Transport,
    ) -> None:
        super().__init__()
        self._number = number
        self._owner = owner
        self._session = session
        self._protocol = protocol
        self._wire = wire
        self._unread: list[bytes] = []
        self._is_paused = False
        self._has_eof = False
        self._told_eof = False
        self._has_written_eof = False
        self._is_closing = False
        self._is_lost = False
        self._has_paused_writer = False
        self._linger: asyncio.TimerHandle | None = None

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._is_closing or self._has_written_eof:
            return
        self._session.send(self._number, data)
        self._owner.flush()
        self.watch_buffer()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._has_written_eof = True
        self._session.end(self._number)
        self._owner.flush()
        self._finish_if_done()

    def close(self) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        self._unread.clear()
        self._session.end(self._number)
        self._owner.flush()
        self._linger = asyncio.get_running_loop().call_later(_LINGER, self.abort)
        self._finish_if_done()

    def abort(self) -> None:
        if not self._is_lost:
            self._is_closing = True
            self._session.reset(self._number)
            self._owner.flush()
            self._schedule_loss(None)

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._deliver()
        self._owner.flush()

    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def get_write_buffer_size(self) -> int:
        return self._session.pending(self._number)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._wire.get_extra_info(name, default)

    def handle(self, event: yamux.Event) -> None:
        """An event of this stream."""
        if isinstance(event, yamux.Received):
            if self._is_closing:
                self._session.acknowledge(self._number, len(event.data))  # thrown away
                return
            self._unread.append(event.data)
            self._deliver()
        elif isinstance(event, yamux.Ended):
            self._has_eof = True
            self._deliver()
            self._finish_if_done()
        elif isinstance(event, yamux.Reset):
            self._schedule_loss(ConnectionResetError("the peer has reset the stream"))

    def lost(self, error: Exception | None) -> None:
        """The connection below is gone, or the stream is over."""
        if self._is_lost:
            return
        self._is_lost = self._is_closing = True
        if self._linger is not None:
            self._linger.cancel()
        self._owner.forget(self._number)
        self._protocol.connection_lost(error)

    def watch_buffer(self) -> None:
        """Pauses or resumes the writer, as far as there is room."""
        waiting = self._session.pending(self._number)
        full = waiting > _HIGH_WATER or (self._owner.is_blocked and waiting > 0)
        if self._is_lost or full == self._has_paused_writer:
            return
        self._has_paused_writer = full
        if full:
            self._protocol.pause_writing()
        else:
            self._protocol.resume_writing()
            self._finish_if_done()

    def _deliver(self) -> None:
        while self._unread and not self._is_paused and not self._is_closing:
            data = self._unread.pop(0)
            self._session.acknowledge(self._number, len(data))
            self._protocol.data_received(data)
        if self._has_eof and not self._unread and not self._told_eof and not self._is_closing:
            self._told_eof = True
            if not self._protocol.eof_received():
                self.close()

    def _finish_if_done(self) -> None:
        done_writing = (self._is_closing or self._has_written_eof) and not self._session.pending(self._number)
        if done_writing and self._has_eof and (self._told_eof or self._is_closing):
            self._is_closing = True
            self._schedule_loss(None)

    def _schedule_loss(self, error: Exception | None) -> None:
        # Not at once: a protocol must not hear of its end from inside its own call.
        asyncio.get_running_loop().call_soon(self.lost, error)
