"""The handshake line: what is accepted, and the reason for everything that is not."""

from __future__ import annotations

import base64

import pytest

from injector.backends.goplugin.handshake import Handshake, HandshakeScanner, parse
from injector.errors import ExitCode, HandshakeFailed

CERTIFICATE = bytes(range(100))
CERTIFICATE_FIELD = base64.b64encode(CERTIFICATE).decode().rstrip("=")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1|1|unix|/tmp/p|grpc", Handshake(1, "unix", "/tmp/p", None, multiplex=False)),
        ("1|1|unix|/tmp/p|grpc|", Handshake(1, "unix", "/tmp/p", None, multiplex=False)),
        ("  1|1|unix|/tmp/p|grpc|\r", Handshake(1, "unix", "/tmp/p", None, multiplex=False)),
        ("1|1|tcp|127.0.0.1:1234|grpc", Handshake(1, "tcp", "127.0.0.1:1234", None, multiplex=False)),
        ("1|1|tcp|[::1]:1234|grpc", Handshake(1, "tcp", "[::1]:1234", None, multiplex=False)),
        ("1|2|unix|/p|grpc|short|T", Handshake(2, "unix", "/p", None, multiplex=True)),
        ("1|1|unix|/p|grpc||false", Handshake(1, "unix", "/p", None, multiplex=False)),
        (f"1|1|unix|/p|grpc|{CERTIFICATE_FIELD}", Handshake(1, "unix", "/p", CERTIFICATE, multiplex=False)),
    ],
)
def test_a_handshake_is_read(line: str, expected: Handshake) -> None:
    assert parse(line, versions=(1, 2)) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "has 1 fields"),
        ("hello", "has 1 fields"),
        ("1|1|unix", "has 3 fields"),
        ("1|1|unix|/x|grpc|||more", "has 8 fields"),
        ("2|1|unix|/x|grpc", "core version 2"),
        ("x|1|unix|/x|grpc", 'first field "x" is not a number'),
        ("warn 1|1|unix|/x|grpc", 'first field "warn 1" is not a number'),
        ("1|2|unix|/x|grpc", "protocol version 2, and this host speaks 1"),
        ("1|x|unix|/x|grpc", 'protocol version "x" is not a number'),
        ("1|" + "9" * 5000 + "|unix|/x|grpc", "is not a number"),
        ("1|1|pipe|/x|grpc", '"pipe" is neither unix nor tcp'),
        ("1|1|unix|/x", '"netrpc", and only grpc'),
        ("1|1|unix|/x|netrpc", '"netrpc", and only grpc'),
        ("1|1|unix|relative|grpc", "not an absolute path"),
        ("1|1|unix|/" + "x" * 107 + "|grpc", "more than 107 bytes"),
        ("1|1|tcp|nohost:xx|grpc", "no valid port"),
        ("1|1|tcp|127.0.0.1:0|grpc", "no valid port"),
        ("1|1|tcp|127.0.0.1:65536|grpc", "no valid port"),
        ("1|1|tcp|localhost:80|grpc", "no valid IP address"),
        ("1|1|tcp|10.0.0.1:80|grpc", "not on loopback"),
        ("1|1|tcp|0.0.0.0:80|grpc", "not on loopback"),
        ("1|1|unix|/x|grpc|" + "!" * 60, "not base64"),
        ("1|1|unix|/x|grpc||yes", '"yes" is not a truth value'),
    ],
)
def test_a_malformed_handshake_is_refused_with_its_reason(line: str, reason: str) -> None:
    with pytest.raises(HandshakeFailed) as caught:
        parse(line, versions=(1,))
    assert reason in caught.value.message
    assert caught.value.exit_code is ExitCode.PLUGIN


def test_what_a_plugin_wrote_is_quoted_without_control_characters_and_cut() -> None:
    with pytest.raises(HandshakeFailed) as caught:
        parse("\x1b[31m" + "a" * 500, versions=(1,))
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 250


def test_noise_before_the_handshake_is_skipped_and_what_follows_is_given_back() -> None:
    scanner = HandshakeScanner(versions=(1,))
    assert scanner.feed(b"\nloading | config\n2024|INFO|x\n1|1|un") is None
    found = scanner.feed(b"ix|/p|grpc\nafter\nit")
    assert found == (Handshake(1, "unix", "/p", None, multiplex=False), b"after\nit")
    assert scanner.noise == 'it began with "loading | config", "2024|INFO|x"'


def test_a_last_line_without_a_line_feed_counts() -> None:
    scanner = HandshakeScanner(versions=(1,))
    assert scanner.feed(b"1|1|unix|/p|grpc") is None
    assert scanner.finish() == Handshake(1, "unix", "/p", None, multiplex=False)


@pytest.mark.parametrize("noise", [b"x\n" * 1001, b"a" * 70_000, b"b" * 700 + b"\n"])
@pytest.mark.fault(5, "reading ends at a limit")
def test_noise_without_end_is_refused_and_quoted(noise: bytes) -> None:
    scanner = HandshakeScanner(versions=(1,))
    with pytest.raises(HandshakeFailed, match="no handshake among them; it began with"):
        any(scanner.feed(noise) for _ in range(200))


def test_a_malformed_attempt_after_noise_is_named_and_not_skipped() -> None:
    with pytest.raises(HandshakeFailed, match="core version 2"):
        HandshakeScanner(versions=(1,)).feed(b"hello\n2|1|unix|/x|grpc\n")
