"""yamux against itself, cut anywhere, and against noise."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from injector.wire import yamux
from injector.wire.yamux import Session

SIZES = st.one_of(st.integers(0, 50), st.integers(0, 700_000))
STEP = st.tuples(st.booleans(), st.integers(0, 3), st.sampled_from(["send", "send", "send", "end", "carry"]), SIZES)


class End:
    """A session, what it has sent on each stream and what it has got."""

    def __init__(self, *, is_client: bool) -> None:
        self.session = Session(is_client=is_client, most_streams=8)
        self.sent: defaultdict[int, int] = defaultdict(int)
        self.got: defaultdict[int, bytearray] = defaultdict(bytearray)
        self.ended: set[int] = set()
        self.closed: set[int] = set()

    def receive(self, raw: bytes, cuts: list[int]) -> None:
        position = 0
        for cut in [*cuts, len(raw)]:
            piece = raw[position : position + cut] if cut != len(raw) else raw[position:]
            position += len(piece)
            for event in self.session.receive(piece):
                if isinstance(event, yamux.Received):
                    self.got[event.stream] += event.data
                    self.session.acknowledge(event.stream, len(event.data))
                elif isinstance(event, yamux.Ended):
                    assert event.stream not in self.ended
                    self.ended.add(event.stream)


_PERIOD = bytes(range(251))


def pattern(start: int, count: int) -> bytes:
    """*count* bytes from *start* on of a pattern in which a lost or doubled piece shows."""
    return (_PERIOD * (count // len(_PERIOD) + 2))[start % len(_PERIOD) :][:count]


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=30), st.lists(st.integers(1, 40), max_size=20))
def test_every_byte_arrives_once_in_order_on_its_stream_whatever_the_cuts(steps, cuts) -> None:
    client, server = End(is_client=True), End(is_client=False)
    streams = [client.session.open() for _ in range(4)]
    server.receive(client.session.take(), [])
    for from_client, index, what, size in steps:
        source = client if from_client else server
        stream = streams[index]
        if what == "end":
            source.session.end(stream)
            source.closed.add(stream)
        elif what == "carry":
            server.receive(client.session.take(), cuts)
            client.receive(server.session.take(), cuts)
        elif stream not in source.closed:
            source.session.send(stream, pattern(source.sent[stream], size))
            source.sent[stream] += size
    for _ in range(200):
        first, second = client.session.take(), server.session.take()
        if not first and not second:
            break
        server.receive(first, cuts)
        client.receive(second, cuts)
    for source, sink in ((client, server), (server, client)):
        for stream in streams:
            # Not compared in the assert: pytest would explain megabytes, once for each step of hypothesis' shrinking.
            is_whole = sink.got[stream] == pattern(0, source.sent[stream])
            assert is_whole, f"stream {stream}: {len(sink.got[stream])} of {source.sent[stream]} bytes"
            assert source.session.pending(stream) == 0
        assert sink.ended == source.closed


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_noise_is_refused_or_understood_and_nothing_else(noise: bytes, is_client: bool) -> None:
    session = Session(is_client=is_client)
    session.open()
    session.take()
    try:
        session.receive(noise)
    except yamux.ProtocolError:
        assert session.take()[-12:-8] == b"\0\3\0\0"  # GOAWAY is the last word
    session.take()


HEADER = st.builds(
    lambda kind, flags, stream, length: bytes((0, kind, 0, flags)) + stream.to_bytes(4) + length.to_bytes(4),
    st.integers(0, 4),
    st.integers(0, 15),
    st.integers(0, 6),
    st.one_of(st.integers(0, 20), st.just(yamux.WINDOW), st.just(2**32 - 1)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(HEADER, max_size=40))
def test_frames_of_any_kind_leave_a_session_that_holds_together(headers: list[bytes]) -> None:
    session = Session(is_client=False, most_streams=3)
    alive: set[int] = set()
    for header in headers:
        try:
            events = session.receive(header)
        except yamux.ProtocolError:
            return
        for event in events:
            if isinstance(event, yamux.Opened):
                alive.add(event.stream)
            elif isinstance(event, yamux.Reset):
                alive.remove(event.stream)
            elif isinstance(event, (yamux.Received, yamux.Ended, yamux.WindowGrown)):
                assert event.stream in alive
        session.take()
