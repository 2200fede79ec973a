"""
The certificate by which one end of a connection knows the other: self-signed, P-256, for as long as a process lives.

Fields and extensions are those of HashiCorp go-plugin's mtls.go (v1.8.0), whose own key is P-521. Key and signature
are made by `cryptography`; the DER around them is put together here, since `cryptography.x509` and `serialization`
double the time and memory of the start (decision 0010). Encoding: RFC 5280, RFC 5480, RFC 5915, X.690.
"""

from __future__ import annotations

import base64
import os
import re
import time
from typing import NamedTuple

_LIFETIME = 262_980 * 3600  # seconds: go-plugin's 30 years; the key is gone long before, with its process
_CLOCK_SLACK = 30  # seconds
_HOST = "localhost"
_ORGANIZATION = "HashiCorp"  # go-plugin's, for hosts that look
_PEM = r"-----BEGIN CERTIFICATE-----\s*([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----\s*"
_PEM_LINE = 64

_SEQUENCE, _SET, _INTEGER, _BITS, _OCTETS, _UTF8, _BOOLEAN = 0x30, 0x31, 2, 3, 4, 12, 1
_UTC_TIME, _GENERALIZED_TIME, _DNS_NAME = 0x17, 0x18, 0x82


class Identity(NamedTuple):
    """A certificate in DER and its private key in PEM (RFC 5915). The key never shows itself."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Identity(...)"

    @property
    def pem(self) -> str:
        """The certificate alone, as PEM: what PLUGIN_CLIENT_CERT carries."""
        return _pem("CERTIFICATE", self.certificate)


def self_signed() -> Identity:
    """A new key and its certificate: CN localhost, for client and server authentication, valid from now on."""
    from cryptography.hazmat.primitives import hashes  # late: 40 ms
    from cryptography.hazmat.primitives.asymmetric import ec  # late: 40 ms

    class Sha256(ec.ECDSA):
        """What ECDSA's own constructor makes, which imports all ciphers and RSA first: 8 ms."""

        algorithm = hashes.SHA256()
        deterministic_signing = False

        def __init__(self) -> None:
            pass

    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.private_numbers()
    public = numbers.public_numbers
    point = b"\x00\x04" + public.x.to_bytes(32, "big") + public.y.to_bytes(32, "big")  # no unused bits, uncompressed
    content = _certificate_content(point)
    signature = key.sign(content, Sha256())
    certificate = _sequence(content, _sequence(_oid("1.2.840.10045.4.3.2")), _der(_BITS, b"\x00", signature))
    secret = _sequence(
        _number(1),
        _der(_OCTETS, numbers.private_value.to_bytes(32, "big")),
        _der(0xA0, _oid("1.2.840.10045.3.1.7")),
        _der(0xA1, _der(_BITS, point)),
    )
    return Identity(certificate, _pem("EC PRIVATE KEY", secret).encode())


def from_pem(text: str) -> bytes:
    """The DER of the one certificate in *text*. ValueError when there is none, several, or something else."""
    match = re.fullmatch(_PEM, text.strip() + "\n")
    if match is None or not match[1].strip():
        raise ValueError("not one certificate in PEM")
    return from_field("".join(match[1].split()))


def to_field(certificate: bytes) -> str:
    """A certificate as the sixth field of a handshake: the DER in base64 without padding."""
    return base64.b64encode(certificate).decode().rstrip("=")


def from_field(field: str) -> bytes:
    """The DER of a handshake's sixth field, padded or not. ValueError when it is not base64."""
    bare = field.rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:  # binascii.Error is one
        raise ValueError("not base64") from None


def _certificate_content(point: bytes) -> bytes:
    now = int(time.time())
    name = _sequence(_named("2.5.4.10", _ORGANIZATION), _named("2.5.4.3", _HOST))
    extensions = (
        # digitalSignature, keyEncipherment, keyAgreement, keyCertSign
        _extension("2.5.29.15", _der(_BITS, b"\x02\xac"), critical=True),
        _extension("2.5.29.37", _sequence(_oid("1.3.6.1.5.5.7.3.2"), _oid("1.3.6.1.5.5.7.3.1"))),
        _extension("2.5.29.19", _sequence(_der(_BOOLEAN, b"\xff")), critical=True),  # its own authority
        _extension("2.5.29.17", _sequence(_der(_DNS_NAME, _HOST.encode()))),
    )
    return _sequence(
        _der(0xA0, _number(2)),  # version 3
        _number(int.from_bytes(os.urandom(16), "big") >> 1 | 1),
        _sequence(_oid("1.2.840.10045.4.3.2")),  # ecdsa-with-SHA256
        name,
        _sequence(_moment(now - _CLOCK_SLACK), _moment(now + _LIFETIME)),
        name,
        _sequence(_sequence(_oid("1.2.840.10045.2.1"), _oid("1.2.840.10045.3.1.7")), _der(_BITS, point)),
        _der(0xA3, _sequence(*extensions)),
    )


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _sequence(*parts: bytes) -> bytes:
    return _der(_SEQUENCE, *parts)


def _number(value: int) -> bytes:
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    octets = bytearray((first * 40 + second,))
    for arc in rest:
        group = [arc & 0x7F]
        while arc := arc >> 7:
            group.append(arc & 0x7F | 0x80)
        octets += bytes(reversed(group))
    return _der(6, bytes(octets))


def _named(oid: str, text: str) -> bytes:
    return _der(_SET, _sequence(_oid(oid), _der(_UTF8, text.encode())))


def _extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    return _sequence(_oid(oid), _der(_BOOLEAN, b"\xff") if critical else b"", _der(_OCTETS, value))


def _moment(seconds: int) -> bytes:
    when = time.gmtime(seconds)
    if when.tm_year < 2050:  # RFC 5280, 4.1.2.5
        return _der(_UTC_TIME, time.strftime("%y%m%d%H%M%SZ", when).encode())
    return _der(_GENERALIZED_TIME, time.strftime("%Y%m%d%H%M%SZ", when).encode())


def _pem(label: str, content: bytes) -> str:
    text = base64.b64encode(content).decode()
    lines = (text[start : start + _PEM_LINE] for start in range(0, len(text), _PEM_LINE))
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----\n"))
