"""
The line by which a go-plugin program says where it listens.

`1|<protocol version>|unix or tcp|<address>|grpc|<certificate>|<multiplexing>`: 4 to 7 fields, blanks around the line
do not count. The first field is go-plugin's own version. Source: HashiCorp go-plugin v1.8.0, client.go (Start) and
server.go (Serve). Unlike its host, this one skips what a program prints before that line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from injector.backends.goplugin.quoting import quote
from injector.errors import HandshakeFailed
from injector.wire.certificates import from_field

if TYPE_CHECKING:
    from collections.abc import Collection

_CORE_VERSION = "1"
_FEWEST_FIELDS = 4
_MOST_FIELDS = 7
_SHORTEST_CERTIFICATE = 50  # go-plugin takes a shorter sixth field for none
_LONGEST_SOCKET_PATH = 107  # bytes: sun_path of unix(7) without its NUL
_HIGHEST_PORT = 65535
_NUMBER = re.compile(r"[0-9]{1,9}")
# Go's strconv.ParseBool
_BOOLEANS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False"), False
)

_MOST_NOISE_LINES = 1000
_MOST_NOISE_BYTES = 64 * 1024
_QUOTED_LINES = 3


class Handshake(Struct, frozen=True):
    """
    What the plugin offers.

    `address` is a socket's absolute path for unix, and `host:port` on loopback for tcp. `certificate` is the
    plugin's own in DER, when it wants TLS. `multiplex` tells that it can carry further connections over the first.
    """

    protocol_version: int
    network: Literal["unix", "tcp"]
    address: str
    certificate: bytes | None
    multiplex: bool


def parse(line: str, *, versions: Collection[int]) -> Handshake:
    """
    Reads a handshake line; *versions* are the protocol versions that were offered to the plugin.

    Raises:
        HandshakeFailed: the line is not a handshake that we can use; the message is the reason alone.
    """
    fields = line.strip().split("|")
    if not _FEWEST_FIELDS <= len(fields) <= _MOST_FIELDS:
        raise HandshakeFailed(f"the line {quote(line)} has {len(fields)} fields instead of 4 to 7")
    core, version, network, address, *more = fields
    protocol, certificate, multiplex = (more + [""] * 3)[:3]
    _check_core(core)
    number = _version(version, versions)
    if protocol != "grpc":
        raise HandshakeFailed(
            f"the plugin speaks {quote(protocol or 'netrpc')}, and only grpc is understood",
            hint="build it with GRPCServer set in plugin.Serve",
        )
    if network == "unix":
        _check_socket_path(address)
    elif network == "tcp":
        _check_loopback(address)
    else:
        raise HandshakeFailed(f"the address type {quote(network)} is neither unix nor tcp")
    return Handshake(
        protocol_version=number,
        network="unix" if network == "unix" else "tcp",
        address=address,
        certificate=_certificate(certificate),
        multiplex=_boolean(multiplex),
    )


def _check_core(core: str) -> None:
    if core == _CORE_VERSION:
        return
    if not _NUMBER.fullmatch(core):
        raise HandshakeFailed(
            f"its first field {quote(core)} is not a number",
            hint="the plugin must not print anything on the line of its handshake",
        )
    raise HandshakeFailed(
        f"it is of go-plugin's core version {core}, and only {_CORE_VERSION} is known",
        hint="rebuild the plugin with a current go-plugin",
    )


def _version(version: str, versions: Collection[int]) -> int:
    if not _NUMBER.fullmatch(version):
        raise HandshakeFailed(f"its protocol version {quote(version)} is not a number")
    number = int(version)
    if number not in versions:
        offered = ", ".join(map(str, sorted(versions)))
        raise HandshakeFailed(
            f"the plugin speaks protocol version {number}, and this host speaks {offered}",
            hint="install a build of the plugin that speaks one of these versions",
        )
    return number


def _check_socket_path(address: str) -> None:
    if not address.startswith("/") or "\0" in address:
        raise HandshakeFailed(f"its socket {quote(address)} is not an absolute path")
    if len(address.encode("utf-8", "surrogateescape")) > _LONGEST_SOCKET_PATH:
        raise HandshakeFailed(
            f"its socket {quote(address)} has a path of more than {_LONGEST_SOCKET_PATH} bytes",
            hint="set TMPDIR to a directory with a shorter path",
        )


def _check_loopback(address: str) -> None:
    import ipaddress  # late: start-up

    host, _, port = address.rpartition(":")
    if not _NUMBER.fullmatch(port) or not 0 < int(port) <= _HIGHEST_PORT:
        raise HandshakeFailed(f"its address {quote(address)} has no valid port")
    try:
        loopback = ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        raise HandshakeFailed(f"its address {quote(address)} has no valid IP address") from None
    if not loopback:
        raise HandshakeFailed(
            f"its address {quote(address)} is not on loopback: secrets would cross the network in clear text",
            hint="let the plugin listen on 127.0.0.1",
        )


def _certificate(field: str) -> bytes | None:
    if len(field) <= _SHORTEST_CERTIFICATE:
        return None
    try:
        return from_field(field)
    except ValueError:
        raise HandshakeFailed("its certificate is not base64") from None


def _boolean(field: str) -> bool:
    if not field:
        return False
    if field not in _BOOLEANS:
        raise HandshakeFailed(f"its seventh field {quote(field)} is not a truth value")
    return _BOOLEANS[field]


def is_meant_as_handshake(line: str) -> bool:
    """Whether a line is an attempt at a handshake, however malformed, and not noise before it."""
    fields = line.strip().split("|")
    if len(fields) > 2 and fields[2] in {"unix", "tcp"}:
        return True
    if len(fields) > 4 and fields[4] in {"grpc", "netrpc"}:
        return True
    return len(fields) > 1 and all(_NUMBER.fullmatch(field) for field in fields[:2])


class HandshakeScanner:
    """
    Finds the handshake in what a program prints; sans I/O.

    Up to 1,000 lines or 64 KiB of noise before it are skipped.
    """

    def __init__(self, *, versions: Collection[int]) -> None:
        self._versions = versions
        self._buffer = b""
        self._noise: list[str] = []
        self._noise_lines = 0
        self._seen_bytes = 0

    def feed(self, data: bytes) -> tuple[Handshake, bytes] | None:
        """
        Takes the next bytes of standard output; the handshake and the bytes after its line, or None: not yet.

        Raises:
            HandshakeFailed: the line is malformed, or the noise has no end. The message is the reason alone.
        """
        self._seen_bytes += len(data)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for index, raw in enumerate(lines):
            handshake = self._take(raw)
            if handshake is not None:
                return handshake, b"\n".join([*lines[index + 1 :], self._buffer])
        if self._seen_bytes > _MOST_NOISE_BYTES or self._noise_lines > _MOST_NOISE_LINES:
            raise HandshakeFailed(f"it printed {self._amount()} and no handshake among them; {self._quoted()}")
        return None

    def finish(self) -> Handshake | None:
        """Standard output is at its end: takes a last line without a line feed. Raises as `feed` does."""
        rest, self._buffer = self._buffer, b""
        return self._take(rest) if rest.strip() else None

    @property
    def noise(self) -> str:
        """What was printed instead, quoted, for a message; empty when nothing was."""
        return self._quoted() if self._noise else ""

    def _take(self, raw: bytes) -> Handshake | None:
        line = raw.decode("utf-8", "replace")
        if is_meant_as_handshake(line):
            return parse(line, versions=self._versions)
        self._noise_lines += 1
        if line.strip() and len(self._noise) < _QUOTED_LINES:
            self._noise.append(line.strip())
        return None

    def _amount(self) -> str:
        return f"{self._noise_lines} lines" if self._noise_lines > 1 else f"{self._seen_bytes} bytes"

    def _quoted(self) -> str:
        first = self._noise or [self._buffer[:200].decode("utf-8", "replace")]
        return "it began with " + ", ".join(quote(line) for line in first)
