"""The handshake and the log as the fake host reads them."""

from __future__ import annotations

import pytest

from injector.errors import HandshakeFailed
from injector.sdk.testing.process import Handshake, LogLine, host_environment, parse_handshake, parse_log


def test_a_handshake_is_read_with_and_without_its_last_field():
    assert parse_handshake("1|1|unix|/tmp/s|grpc|", versions=(1,)) == Handshake(1, "unix", "/tmp/s")
    told = parse_handshake("1|2|tcp|127.0.0.1:1|grpc|abc|true", versions=(1, 2))
    assert told == Handshake(2, "tcp", "127.0.0.1:1", "abc", "true")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "no handshake"),
        ("hello", "no handshake but 'hello'"),
        ("1|1|unix|/s", "no handshake"),
        ("2|1|unix|/s|grpc|", "core protocol '2'"),
        ("1|7|unix|/s|grpc|", "protocol '7', and the host offers 1"),
        ("1|x|unix|/s|grpc|", "protocol 'x'"),
        ("1|1|udp|/s|grpc|", "'udp'"),
        ("1|1|unix||grpc|", "an address that is none"),
        ("1|1|unix|/s|netrpc|", "'netrpc'"),
    ],
)
def test_a_malformed_handshake_says_why(line, said):
    with pytest.raises(HandshakeFailed) as caught:
        parse_handshake(line, versions=(1,))
    assert said in caught.value.message


def test_a_log_is_taken_apart_where_it_is_hclogs():
    lines = parse_log('{"@level":"warn","@message":"hello","@module":"m","n":3}\n\nplain\n{"a":1}\n[1]\n')
    assert lines == [
        LogLine("warn", "hello", {"n": 3}),
        LogLine("", "plain", {}),
        LogLine("", '{"a":1}', {}),
        LogLine("", "[1]", {}),
    ]


def test_what_a_host_of_ours_has_set_is_not_passed_on():
    inherited = {"HOME": "/h", "PLUGIN_CLIENT_CERT": "x", "PLUGIN_UNIX_SOCKET_DIR": "/s", "TMPDIR": "/old"}
    environment = host_environment(inherited, versions=(1, 2), socket_base="/new", extra={"A": "b"})
    assert environment == {
        "HOME": "/h",
        "A": "b",
        "TMPDIR": "/new",
        "CONFIGMANAGER_PLUGIN": "configmanager-plugin-hello",
        "PLUGIN_MIN_PORT": "10000",
        "PLUGIN_MAX_PORT": "25000",
        "PLUGIN_PROTOCOL_VERSIONS": "1,2",
    }
