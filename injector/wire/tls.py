"""
TLS between a host and its plugin, sans I/O: bytes from the peer in, plain text out, and the other way round.

Each end trusts exactly one certificate, that of the handshake (AutoMTLS), and the one that the peer shows is compared
with it byte for byte. Python's `ssl` does this and not gRPC, because gRPC's BoringSSL does not verify the P-521
signatures of go-plugin's certificates. SSLObject and memory buffers instead of SSLSocket: nothing here can be read
and written by two threads at a time, which CPython does not survive (its issues 137583, 143756, 151508).
"""

from __future__ import annotations

import contextlib
import os
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from injector.wire.certificates import Identity

_READ = 256 * 1024
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "UNKNOWN_PROTOCOL"})


class TlsFailed(Exception):
    """The two ends do not trust or understand each other. The text is a clause about the peer, safe to show."""


class PeerWentAway(TlsFailed):
    """The peer closed the connection in the middle of the TLS handshake."""


def make_context(identity: Identity, *, peer: bytes, server_side: bool) -> ssl.SSLContext:
    """
    A context that shows *identity* and trusts *peer*, a certificate in DER, and nothing else. TLS 1.2 or newer.

    The private key passes through memory only. Raises TlsFailed when *peer* is no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # the whole certificate is compared
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.set_alpn_protocols(["h2"])
    if server_side:
        context.num_tickets = 0  # every connection shows its certificate anew
    try:
        context.load_verify_locations(cadata=peer)
    except ssl.SSLError:
        raise TlsFailed("gave something that is no certificate") from None
    pem = identity.pem.encode()
    with _in_memory(pem) as certificate, _in_memory(identity.key) as key:
        context.load_cert_chain(certificate, key)
    return context


class TlsSession:
    """
    One connection's TLS. After each call, what `take` gives goes to the peer.

    Args:
        context: made by `make_context` for the same peer and side.
        peer: the certificate that the peer has to show, in DER.
    """

    def __init__(self, context: ssl.SSLContext, *, peer: bytes, server_side: bool) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        name = None if server_side else b"localhost"  # bytes: a str loads the codec of international names
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side, name)
        self._peer = peer
        self.is_open = False
        """The handshake is done and the peer is the right one."""
        self.has_ended = False
        """The peer will send nothing more."""

    def begin(self) -> None:
        """The first step of the handshake. Raises TlsFailed."""
        self._shake_hands()

    def receive(self, data: bytes) -> bytes:
        """Takes bytes from the peer and gives the plain text in them. Raises TlsFailed; the connection is over then."""
        self._incoming.write(data)
        if not self.is_open:
            self._shake_hands()
        return self._read() if self.is_open else b""

    def receive_end(self) -> None:
        """The peer's bytes are at their end. Raises PeerWentAway when the handshake is not done."""
        self._incoming.write_eof()
        self.has_ended = True
        if not self.is_open:
            raise PeerWentAway("closed the connection in the middle of the TLS handshake")

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Takes plain text for the peer. Raises TlsFailed."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._object.write(view) :]
        except ssl.SSLError as error:
            raise _failure(error) from None

    def send_end(self) -> None:
        """Tells the peer that nothing more follows."""
        with contextlib.suppress(ssl.SSLError):  # also SSLWantReadError: the peer's answer is not waited for
            self._object.unwrap()

    def take(self) -> bytes:
        """What has to go to the peer now; may be empty."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            raise _failure(error) from None
        if self._object.getpeercert(binary_form=True) != self._peer:
            raise TlsFailed("showed another certificate than that of its handshake")
        self.is_open = True

    def _read(self) -> bytes:
        parts = []
        try:
            while part := self._object.read(_READ):
                parts.append(part)
            self.has_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.has_ended = True
        except ssl.SSLError as error:
            raise _failure(error) from None
        return b"".join(parts)


def _failure(error: ssl.SSLError) -> TlsFailed:
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError) or "NO_CERTIFICATE" in reason or "DID_NOT_RETURN" in reason:
        return TlsFailed("showed another certificate than that of its handshake, or none")
    if "ALERT" in reason:
        # In TLS 1.3 the client meets this at its first read, after a handshake that was fine for it.
        return TlsFailed(f"refused our certificate or our TLS ({reason})")
    if reason in _NOT_TLS:
        return TlsFailed("does not speak TLS")
    if reason == "UNEXPECTED_EOF_WHILE_READING":
        return PeerWentAway("closed the connection in the middle of TLS")
    return TlsFailed(f"does not speak TLS as it should ({reason or 'no reason given'})")


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    # OpenSSL takes a certificate and its key from files only. A pipe has no name and no disk below it, and unlike a
    # memory file no sandbox forbids it; these are a few hundred bytes, and fit.
    fd, write = os.pipe()
    try:
        with os.fdopen(write, "wb") as file:
            file.write(data)
        yield f"/dev/fd/{fd}"
    finally:
        os.close(fd)
