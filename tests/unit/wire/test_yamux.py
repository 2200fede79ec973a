"""yamux frame by frame: what goes out, and what a peer may not do."""

from __future__ import annotations

import struct
import tracemalloc

import pytest

from injector.wire import yamux
from injector.wire.yamux import Ended, GoneAway, Opened, ProtocolError, Received, Reset, Session, WindowGrown

DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8


def frame(kind: int, flags: int, stream: int, length: int, payload: bytes = b"", *, version: int = 0) -> bytes:
    return struct.pack(">BBHII", version, kind, flags, stream, length) + payload


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    return frame(DATA, flags, stream, len(payload), payload)


def frames(raw: bytes) -> list[tuple[int, int, int, int]]:
    """Kind, flags, stream and length of each."""
    found = []
    while raw:
        _, kind, flags, stream, length = struct.unpack_from(">BBHII", raw)
        raw = raw[12 + (length if kind == DATA else 0) :]
        found.append((kind, flags, stream, length))
    return found


@pytest.fixture
def server() -> Session:
    return Session(is_client=False, most_streams=4)


@pytest.fixture
def opened(server: Session) -> Session:
    """A server with the client's stream 1."""
    assert server.receive(frame(WINDOW, SYN, 1, 0)) == [Opened(1)]
    assert frames(server.take()) == [(WINDOW, ACK, 1, 0)]
    return server


# ----------------------------------------------------------------------------------------------------- what is sent


def test_a_client_opens_odd_streams_and_a_server_even_ones() -> None:
    for is_client, numbers in ((True, [1, 3]), (False, [2, 4])):
        session = Session(is_client=is_client)
        assert [session.open(), session.open()] == numbers
        assert frames(session.take()) == [(WINDOW, SYN, number, 0) for number in numbers]


def test_the_first_data_carries_the_syn() -> None:
    session = Session(is_client=True)
    session.send(session.open(), b"hello")
    assert session.take() == data(1, b"hello", SYN)


def test_no_more_than_the_window_goes_out(opened: Session) -> None:
    opened.send(1, bytes(yamux.WINDOW + 10))
    assert frames(opened.take()) == [(DATA, 0, 1, yamux.WINDOW)]
    assert opened.pending(1) == 10
    assert opened.take() == b""
    assert opened.receive(frame(WINDOW, 0, 1, 4)) == [WindowGrown(1)]
    assert frames(opened.take()) == [(DATA, 0, 1, 4)]
    assert opened.pending(1) == 6


def test_the_end_comes_after_all_that_waits(opened: Session) -> None:
    opened.send(1, bytes(yamux.WINDOW + 1))
    opened.end(1)
    opened.send(1, b"too late")
    assert [flags for _, flags, _, _ in frames(opened.take())] == [0]
    opened.receive(frame(WINDOW, 0, 1, 100))
    assert frames(opened.take()) == [(DATA, 0, 1, 1), (WINDOW, FIN, 1, 0)]


def test_the_window_is_given_back_when_half_of_it_was_used(opened: Session) -> None:
    opened.receive(data(1, bytes(yamux.WINDOW)))
    opened.acknowledge(1, yamux.WINDOW // 2 - 1)
    assert opened.take() == b""
    opened.acknowledge(1, 1)
    assert frames(opened.take()) == [(WINDOW, 0, 1, yamux.WINDOW // 2)]
    opened.receive(data(1, bytes(yamux.WINDOW // 2)))  # exactly what was given back
    with pytest.raises(ProtocolError):
        opened.receive(data(1, b"x"))


def test_pings_are_answered_with_their_value_and_answers_are_not(server: Session) -> None:
    server.receive(frame(PING, SYN, 0, 77) + frame(PING, ACK, 0, 78))
    assert server.take() == frame(PING, ACK, 0, 77)


def test_a_reset_stream_is_gone_and_its_late_data_thrown_away(opened: Session) -> None:
    opened.reset(1)
    assert frames(opened.take()) == [(WINDOW, RST, 1, 0)]
    assert opened.receive(data(1, b"late") + frame(WINDOW, FIN, 1, 5)) == []
    opened.send(1, b"x")
    assert opened.take() == b""


# ------------------------------------------------------------------------------------------------- what is received


def test_data_comes_as_it_arrives_and_the_end_after_it(opened: Session) -> None:
    raw = data(1, b"abcdef", FIN)
    assert opened.receive(raw[:14]) == [Received(1, b"ab")]
    assert opened.receive(raw[14:]) == [Received(1, b"cdef"), Ended(1)]


def test_a_half_closed_stream_still_sends(opened: Session) -> None:
    assert opened.receive(frame(DATA, FIN, 1, 0)) == [Ended(1)]
    opened.send(1, b"answer")
    opened.end(1)
    assert frames(opened.take()) == [(DATA, 0, 1, 6), (WINDOW, FIN, 1, 0)]


def test_a_reset_by_the_peer_ends_both_directions(opened: Session) -> None:
    assert opened.receive(frame(WINDOW, RST, 1, 0)) == [Reset(1)]
    opened.send(1, b"x")
    assert opened.take() == b""


def test_streams_do_not_wait_for_each_other(opened: Session) -> None:
    opened.receive(frame(WINDOW, SYN, 3, 0))
    opened.take()
    opened.send(1, bytes(yamux.WINDOW + 1))
    opened.take()
    opened.send(3, b"free")
    assert frames(opened.take()) == [(DATA, 0, 3, 4)]


def test_a_farewell_ends_new_streams_and_leaves_the_old(opened: Session) -> None:
    assert opened.receive(frame(GO_AWAY, 0, 0, yamux.NORMAL)) == [GoneAway(yamux.NORMAL)]
    with pytest.raises(yamux.SessionOver):
        opened.open()
    opened.send(1, b"still")
    assert opened.take() == data(1, b"still")


@pytest.mark.parametrize("code", [yamux.PROTOCOL_ERROR, yamux.INTERNAL_ERROR, 99])
def test_a_farewell_with_an_error_ends_the_session(opened: Session, code: int) -> None:
    assert opened.receive(frame(GO_AWAY, 0, 0, code) + b"whatever follows") == [GoneAway(code)]
    opened.send(1, b"x")
    assert opened.take() == b""


# ------------------------------------------------------------------------------------------------------ a hostile peer


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (frame(PING, SYN, 0, 0, version=1), "version 1"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version 80"),
        (frame(4, 0, 0, 0), "frame type 4"),
        (data(1, b"x" * 10) + frame(DATA, 0, 1, yamux.WINDOW), "more data than its window"),
        (frame(DATA, 0, 1, 2**32 - 1), "more data than its window"),
        (frame(WINDOW, 0, 1, 2**32 - 1) * 2, "a window beyond all bounds"),
        (data(0, b"x"), "a stream that never was"),
        (data(3, b"x"), "a stream that never was"),
        (data(2, b"x"), "a stream that never was"),
        (frame(WINDOW, SYN, 1, 0), "may not use"),
        (frame(WINDOW, SYN, 2, 0), "may not use"),
        (frame(WINDOW, SYN, 0, 0), "may not use"),
        (frame(WINDOW, SYN, 5, 0) + frame(WINDOW, SYN, 3, 0), "may not use"),
        (frame(WINDOW, FIN, 1, 0) * 2, "a second end"),
        (frame(WINDOW, FIN, 1, 0) + data(1, b"x"), "data after the end"),
    ],
)
def test_what_is_against_the_rules_ends_the_session_and_tells_the_peer(opened: Session, raw: bytes, what: str) -> None:
    with pytest.raises(ProtocolError, match=what):
        opened.receive(raw)
    assert frames(opened.take())[-1] == (GO_AWAY, 0, 0, yamux.PROTOCOL_ERROR)
    with pytest.raises(yamux.SessionOver):
        opened.open()
    assert opened.receive(frame(PING, SYN, 0, 0)) == []


def test_more_streams_than_allowed_are_reset_and_the_others_go_on(server: Session) -> None:
    server.receive(b"".join(frame(WINDOW, SYN, number, 0) for number in (1, 3, 5, 7)))
    server.take()
    assert server.receive(data(9, b"dropped", SYN)) == []
    assert frames(server.take()) == [(WINDOW, RST, 9, 0)]
    assert server.receive(data(7, b"fine")) == [Received(7, b"fine")]


def test_a_host_takes_no_stream_from_a_plugin() -> None:
    host = Session(is_client=True, most_streams=0)
    assert host.receive(frame(WINDOW, SYN, 2, 0)) == []
    assert frames(host.take()) == [(WINDOW, RST, 2, 0)]


@pytest.mark.parametrize("question", [frame(PING, SYN, 0, 1), None])
def test_a_peer_that_asks_and_does_not_read_is_cut_off(server: Session, question: bytes | None) -> None:
    questions = b"".join(question or frame(WINDOW, SYN, number, 0) for number in range(1, 10_000, 2))
    with pytest.raises(ProtocolError, match="without reading the answers"):
        server.receive(questions)
    assert len(server.take()) < 100_000


def test_memory_does_not_grow_with_what_a_header_announces(opened: Session) -> None:
    tracemalloc.start()
    for _ in range(100):
        opened.receive(frame(WINDOW, 0, 1, 0) * 100)
    opened.receive(frame(DATA, 0, 1, yamux.WINDOW))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000
