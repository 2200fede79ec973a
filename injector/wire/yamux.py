"""
yamux, sans I/O: several streams over one connection. Frames in, events out; `take` gives the frames for the peer.

Source: HashiCorp yamux v0.1.2, spec.md and session.go. A frame is version (0), type, flags, stream and length, 12
bytes in network order; data frames have `length` bytes after it. Each stream starts with a window of 256 KiB in each
direction; the client's streams are odd, the server's even, 0 is the session.

Against a hostile peer: nothing is buffered beyond a header (a frame's payload is handed out as it arrives), a window
that is overrun, a stream that never was, or a frame that makes no sense ends the session, and so does a peer who makes
us answer without reading the answers. What Go's yamux tolerates from a peer that is only late is tolerated here.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

WINDOW: Final = 256 * 1024
"""Bytes that may be under way on a stream before the other side has taken them."""

NORMAL, PROTOCOL_ERROR, INTERNAL_ERROR = 0, 1, 2
"""Codes of `go_away`."""

_HEADER = struct.Struct(">BBHII")
_DATA, _WINDOW_UPDATE, _PING, _GO_AWAY = 0, 1, 2, 3
_SYN, _ACK, _FIN, _RST = 1, 2, 4, 8
_LARGEST_WINDOW = 2**32 - 1
_LAST_STREAM = 2**32 - 2
_MOST_ANSWERS = 4096  # frames that wait for a peer who does not read


class ProtocolError(Exception):
    """The peer does not keep to yamux. The session is over; what `take` gives tells it so."""


class SessionOver(Exception):
    """No new stream: one of the sides has said that it is going away."""


class Opened(NamedTuple):
    """The peer has opened a stream."""

    stream: int


class Received(NamedTuple):
    """Data of a stream; to be given back to the window by `acknowledge`."""

    stream: int
    data: bytes


class Ended(NamedTuple):
    """The peer sends nothing more on this stream."""

    stream: int


class Reset(NamedTuple):
    """The peer has thrown the stream away, in both directions."""

    stream: int


class WindowGrown(NamedTuple):
    """More can be sent on this stream."""

    stream: int


class GoneAway(NamedTuple):
    """The peer opens no more streams and takes none. With a *code* other than NORMAL the session is over."""

    code: int


Event = Opened | Received | Ended | Reset | WindowGrown | GoneAway


class _Stream:
    __slots__ = (
        "consumed",
        "flags",
        "is_ending",
        "outgoing",
        "receive_window",
        "remote_ended",
        "send_window",
        "sent_end",
    )

    def __init__(self, flags: int) -> None:
        self.flags = flags  # of the next frame that is sent: SYN or ACK, once
        self.outgoing = bytearray()
        self.send_window = WINDOW
        self.receive_window = WINDOW
        self.consumed = 0
        self.is_ending = False
        self.sent_end = False
        self.remote_ended = False


class Session:
    """
    One end of a connection.

    Args:
        is_client: which end; it decides on the numbers of its streams.
        most_streams: how many streams the peer may have open at a time; more are reset. 0 refuses all.
    """

    def __init__(self, *, is_client: bool, most_streams: int = 16) -> None:
        self._next = 1 if is_client else 2
        self._peer_parity = 0 if is_client else 1
        self._newest_of_peer = 0
        self._most_streams = most_streams
        self._streams: dict[int, _Stream] = {}
        self._answers: list[bytes] = []
        self._header = bytearray()
        self._payload_left = 0
        self._payload_stream = 0
        self._ends_after_payload = False
        self._is_over = False
        self._is_going = False

    def open(self) -> int:
        """A new stream. SessionOver after a GOAWAY of either side."""
        if self._is_over or self._is_going or self._next > _LAST_STREAM:
            raise SessionOver
        number, self._next = self._next, self._next + 2
        self._streams[number] = _Stream(_SYN)
        return number

    def send(self, stream: int, data: bytes | bytearray | memoryview) -> None:
        """Queues data; it goes as the peer's window allows. Nothing happens when the stream is over or ending."""
        known = self._streams.get(stream)
        if known is not None and not known.is_ending:
            known.outgoing += data

    def end(self, stream: int) -> None:
        """Nothing more is sent on this stream once what is queued has gone."""
        known = self._streams.get(stream)
        if known is not None:
            known.is_ending = True

    def reset(self, stream: int) -> None:
        """Throws the stream away, in both directions."""
        known = self._streams.pop(stream, None)
        if known is not None and not self._is_over:
            flags = _RST | (known.flags & _SYN)
            self._answers.append(_HEADER.pack(0, _WINDOW_UPDATE, flags, stream, 0))

    def acknowledge(self, stream: int, count: int) -> None:
        """*count* bytes of a stream have been dealt with: the peer may send as many more."""
        known = self._streams.get(stream)
        if known is not None:
            known.consumed += count

    def pending(self, stream: int) -> int:
        """Bytes of a stream that wait for the peer's window, or for `take`."""
        known = self._streams.get(stream)
        return len(known.outgoing) if known is not None else 0

    def go_away(self, code: int = NORMAL) -> None:
        """Tells the peer that no more streams are opened or taken."""
        if not self._is_over:
            self._is_going = True
            self._answers.append(_HEADER.pack(0, _GO_AWAY, 0, 0, code))

    def take(self) -> bytes:
        """The frames that can go to the peer now; may be empty."""
        parts, self._answers = self._answers, []
        if not self._is_over:
            for number, stream in list(self._streams.items()):
                self._take_from(number, stream, parts)
        return b"".join(parts)

    def receive(self, data: bytes) -> list[Event]:
        """
        Takes bytes from the peer.

        Raises ProtocolError; events that the same bytes held before are lost then, as the session is.
        """
        events: list[Event] = []
        view = memoryview(data)
        while view and not self._is_over:
            if self._payload_left:
                view = self._take_payload(view, events)
                continue
            missing = _HEADER.size - len(self._header)
            self._header += view[:missing]
            view = view[missing:]
            if len(self._header) == _HEADER.size:
                header = _HEADER.unpack(self._header)
                self._header.clear()
                self._handle(header, events)
        return events

    def _take_from(self, number: int, stream: _Stream, parts: list[bytes]) -> None:
        count = min(len(stream.outgoing), stream.send_window)
        owes_window = stream.consumed >= WINDOW // 2 and not stream.remote_ended
        if owes_window or (stream.flags and not count):
            parts.append(_HEADER.pack(0, _WINDOW_UPDATE, self._take_flags(stream), number, stream.consumed))
            stream.receive_window += stream.consumed
            stream.consumed = 0
        if count:
            parts.append(_HEADER.pack(0, _DATA, self._take_flags(stream), number, count))
            parts.append(bytes(memoryview(stream.outgoing)[:count]))
            del stream.outgoing[:count]
            stream.send_window -= count
        if stream.is_ending and not stream.sent_end and not stream.outgoing:
            parts.append(_HEADER.pack(0, _WINDOW_UPDATE, self._take_flags(stream) | _FIN, number, 0))
            stream.sent_end = True
            self._forget_if_done(number, stream)

    @staticmethod
    def _take_flags(stream: _Stream) -> int:
        flags, stream.flags = stream.flags, 0
        return flags

    def _handle(self, header: tuple[int, int, int, int, int], events: list[Event]) -> None:
        version, kind, flags, number, length = header
        if version != 0:
            self._fail(f"version {version} instead of 0")
        if kind in (_DATA, _WINDOW_UPDATE):
            self._handle_stream(kind, flags, number, length, events)
        elif kind == _PING:
            if flags & _SYN:
                self._answer(_HEADER.pack(0, _PING, _ACK, 0, length))
        elif kind == _GO_AWAY:
            self._is_going = True
            self._is_over = length != NORMAL
            events.append(GoneAway(length))
        else:
            self._fail(f"frame type {kind}")

    def _handle_stream(self, kind: int, flags: int, number: int, length: int, events: list[Event]) -> None:
        if flags & _SYN:
            self._accept(number, events)
        stream = self._streams.get(number)
        if stream is None and not self._was_open(number):
            self._fail("a frame of a stream that never was")
        if kind == _DATA:
            self._announce_payload(number, stream, length)
        elif stream is not None and length:
            stream.send_window += length
            if stream.send_window > _LARGEST_WINDOW:
                self._fail("a window beyond all bounds")
            events.append(WindowGrown(number))
        if stream is None:
            return  # reset by us, or done: the peer may not know yet
        if flags & _RST:
            del self._streams[number]
            events.append(Reset(number))
        elif flags & _FIN:
            if stream.remote_ended:
                self._fail("a second end of a stream")
            if kind == _DATA and length:
                self._ends_after_payload = True
            else:
                self._end_remote(number, stream, events)

    def _accept(self, number: int, events: list[Event]) -> None:
        if number == 0 or number % 2 != self._peer_parity or number <= self._newest_of_peer:
            self._fail("a stream with a number that the peer may not use")
        self._newest_of_peer = number
        ours = 1 - self._peer_parity
        theirs = sum(1 for known in self._streams if known % 2 != ours)
        if self._is_going or theirs >= self._most_streams:
            self._answer(_HEADER.pack(0, _WINDOW_UPDATE, _RST, number, 0))
            return
        self._streams[number] = _Stream(_ACK)
        events.append(Opened(number))

    def _was_open(self, number: int) -> bool:
        if number == 0:
            return False
        return number <= self._newest_of_peer if number % 2 == self._peer_parity else number < self._next

    def _announce_payload(self, number: int, stream: _Stream | None, length: int) -> None:
        # A closed stream's window is not known any more; no peer had more than the first one.
        allowed = WINDOW if stream is None else stream.receive_window
        if length > allowed:
            self._fail("more data than its window allows")
        if stream is not None:
            if length and stream.remote_ended:
                self._fail("data after the end of a stream")
            stream.receive_window -= length
        self._payload_left = length
        self._payload_stream = number
        self._ends_after_payload = False

    def _take_payload(self, view: memoryview, events: list[Event]) -> memoryview:
        part = view[: self._payload_left]
        self._payload_left -= len(part)
        stream = self._streams.get(self._payload_stream)
        if stream is not None:
            events.append(Received(self._payload_stream, bytes(part)))
            if not self._payload_left and self._ends_after_payload:
                self._end_remote(self._payload_stream, stream, events)
        return view[len(part) :]

    def _end_remote(self, number: int, stream: _Stream, events: list[Event]) -> None:
        stream.remote_ended = True
        events.append(Ended(number))
        self._forget_if_done(number, stream)

    def _forget_if_done(self, number: int, stream: _Stream) -> None:
        if stream.remote_ended and stream.sent_end:
            self._streams.pop(number, None)

    def _answer(self, frame: bytes) -> None:
        if len(self._answers) >= _MOST_ANSWERS:
            self._fail("questions without reading the answers")
        self._answers.append(frame)

    def _fail(self, what: str) -> None:
        self.go_away(PROTOCOL_ERROR)
        self._is_over = True
        self._streams.clear()
        raise ProtocolError(f"does not keep to yamux: it sent {what}")
