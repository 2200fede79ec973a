"""Whatever a plugin prints, reading it raises nothing but HandshakeFailed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from injector.backends.goplugin import handshake as subject
from injector.backends.goplugin.handshake import HandshakeScanner, parse
from injector.errors import HandshakeFailed

FIELDS = st.one_of(
    st.text(max_size=80),
    st.sampled_from(["1", "2", "0001", "", "unix", "tcp", "grpc", "netrpc", "/s", "127.0.0.1:1", "[::1]:9", "true"]),
    st.from_regex(r"[A-Za-z0-9+/]{49,60}", fullmatch=True),
    st.integers().map(str),
)
LINES = st.one_of(st.text(max_size=300), st.lists(FIELDS, max_size=9).map("|".join))


@given(LINES)
def test_a_line_is_a_handshake_or_fails_as_one(line: str) -> None:
    try:
        handshake = parse(line, versions=(1,))
    except HandshakeFailed:
        return
    assert handshake.protocol_version == 1
    assert handshake.network in {"unix", "tcp"}


@given(st.lists(st.one_of(st.binary(max_size=200), LINES.map(lambda line: (line + "\n").encode("utf-8", "replace")))))
@pytest.mark.fault(5, "any bytes are a handshake or one error")
def test_a_stream_of_anything_fails_as_a_handshake_or_not_at_all(chunks: list[bytes]) -> None:
    scanner = HandshakeScanner(versions=(1,))
    problem = ""
    try:
        if any(scanner.feed(chunk) for chunk in chunks):
            return
        scanner.finish()
    except HandshakeFailed as error:
        problem = error.message
    assert problem.isprintable()
    assert scanner.noise.isprintable()


@given(st.binary(max_size=400), st.data())
def test_a_handshake_is_found_however_the_bytes_are_cut(rest: bytes, data: st.DataObject) -> None:
    stream = b"noise\nmore noise\n1|1|unix|/run/s|grpc|\n" + rest
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    scanner = HandshakeScanner(versions=(1,))
    found, left = None, b""
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if found is None:
            result = scanner.feed(stream[start:end])
            if result is not None:
                found, left = result
        else:
            left += stream[start:end]
    assert found == subject.Handshake(1, "unix", "/run/s", None, multiplex=False)
    assert left == rest
