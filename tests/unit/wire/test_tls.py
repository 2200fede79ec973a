"""TLS without a network: two sessions that hand each other their bytes."""

from __future__ import annotations

import os
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from injector.wire import tls
from injector.wire.certificates import Identity, self_signed
from injector.wire.tls import PeerWentAway, TlsFailed, TlsSession, make_context

HOST, PLUGIN, STRANGER = (self_signed() for _ in range(3))


def session(own: Identity, peer: bytes, *, server_side: bool, pinned: bytes | None = None) -> TlsSession:
    context = make_context(own, peer=peer, server_side=server_side)
    return TlsSession(context, peer=pinned or peer, server_side=server_side)


def pair(host: Identity = HOST, plugin: Identity = PLUGIN) -> tuple[TlsSession, TlsSession]:
    """The two ends as they should be: client, server."""
    return session(host, plugin.certificate, server_side=False), session(plugin, host.certificate, server_side=True)


def shake(client: TlsSession, server: TlsSession, *, at_a_time: int = 1 << 20) -> None:
    """Carries bytes in pieces until both are open. Raises what either raises."""
    client.begin()
    for _ in range(10):
        for source, sink in ((client, server), (server, client)):
            data = source.take()
            for start in range(0, len(data), at_a_time):
                sink.receive(data[start : start + at_a_time])
    assert client.is_open
    assert server.is_open


@pytest.mark.parametrize("at_a_time", [1, 7, 1 << 20])
def test_it_opens_and_carries_both_ways_however_the_bytes_are_cut(at_a_time: int) -> None:
    client, server = pair()
    shake(client, server, at_a_time=at_a_time)
    for source, sink in ((client, server), (server, client)):
        message = os.urandom(50_000)
        source.send(message)
        data = source.take()
        pieces = (data[start : start + at_a_time] for start in range(0, len(data), at_a_time))
        assert b"".join(sink.receive(piece) for piece in pieces) == message


def test_a_p521_certificate_of_a_go_host_is_taken() -> None:
    key = ec.generate_private_key(ec.SECP521R1())
    ours = x509.load_der_x509_certificate(HOST.certificate)
    builder = x509.CertificateBuilder(ours.subject, ours.subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(ours.not_valid_before_utc).not_valid_after(ours.not_valid_after_utc)
    for extension in ours.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    certificate = builder.sign(key, hashes.SHA512())
    encoding = serialization.Encoding
    secret = key.private_bytes(
        encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    shake(*pair(host=Identity(certificate.public_bytes(encoding.DER), secret)))
    shake(*pair(plugin=Identity(certificate.public_bytes(encoding.DER), secret)))


def test_the_client_refuses_another_certificate_than_the_pinned_one() -> None:
    client = session(HOST, PLUGIN.certificate, server_side=False)
    server = session(STRANGER, HOST.certificate, server_side=True)
    with pytest.raises(TlsFailed, match="another certificate than that of its handshake"):
        shake(client, server)
    assert not client.is_open
    assert client.take()  # an alert


def test_the_server_refuses_another_certificate_than_the_pinned_one() -> None:
    client = session(STRANGER, PLUGIN.certificate, server_side=False)
    server = session(PLUGIN, HOST.certificate, server_side=True)
    with pytest.raises(TlsFailed, match="another certificate"):
        shake(client, server)
    assert not server.is_open
    with pytest.raises(TlsFailed, match="refused our certificate"):
        client.receive(server.take())


def test_a_certificate_that_the_trusted_one_has_signed_is_another_certificate() -> None:
    # The pinned one is its own authority: whoever has its key could make more, and a library would take them.
    issuer = x509.load_der_x509_certificate(PLUGIN.certificate)
    issuer_key = serialization.load_pem_private_key(PLUGIN.key, None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(issuer.subject, issuer.subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(issuer.not_valid_before_utc).not_valid_after(issuer.not_valid_after_utc)
    encoding = serialization.Encoding
    child = builder.sign(issuer_key, hashes.SHA256()).public_bytes(encoding.DER)
    secret = key.private_bytes(
        encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    client = session(HOST, PLUGIN.certificate, server_side=False)
    server = session(Identity(child, secret), HOST.certificate, server_side=True)
    with pytest.raises(TlsFailed, match="showed another certificate"):
        shake(client, server)
    assert not client.is_open


def test_a_client_without_a_certificate_is_refused() -> None:
    server = session(PLUGIN, HOST.certificate, server_side=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = TlsSession(context, peer=PLUGIN.certificate, server_side=False)
    with pytest.raises(TlsFailed, match="another certificate than that of its handshake, or none"):
        shake(client, server)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_1_is_refused() -> None:
    server = session(PLUGIN, HOST.certificate, server_side=True)
    context = make_context(HOST, peer=PLUGIN.certificate, server_side=False)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")  # or OpenSSL itself has none for it
    client = TlsSession(context, peer=PLUGIN.certificate, server_side=False)
    with pytest.raises(TlsFailed):
        shake(client, server)
    assert not server.is_open


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"1|1|unix|/x|grpc|\n", bytes(100)])
def test_a_peer_that_speaks_no_tls_is_told_of_as_such(answer: bytes) -> None:
    client, _ = pair()
    client.begin()
    with pytest.raises(TlsFailed, match="does not speak TLS"):
        client.receive(answer)


def test_an_end_in_the_middle_of_the_handshake_is_told_apart() -> None:
    client, _ = pair()
    client.begin()
    with pytest.raises(PeerWentAway):
        client.receive_end()


def test_an_end_of_one_direction_leaves_the_other() -> None:
    client, server = pair()
    shake(client, server)
    client.send(b"last")
    client.send_end()
    assert server.receive(client.take()) == b"last"
    assert server.has_ended
    server.send(b"answer")
    assert client.receive(server.take()) == b"answer"
    assert not client.has_ended


def test_a_changed_byte_ends_the_connection() -> None:
    client, server = pair()
    shake(client, server)
    client.send(b"secret")
    data = bytearray(client.take())
    data[-1] ^= 1
    with pytest.raises(TlsFailed, match="does not speak TLS as it should"):
        server.receive(bytes(data))


def test_plain_text_is_nowhere_in_what_goes_out() -> None:
    client, server = pair()
    shake(client, server)
    client.send(b"hunter2" * 100)
    assert b"hunter2" not in client.take()


@pytest.mark.parametrize("certificate", [b"", b"x" * 100, HOST.certificate[:-10]])
def test_a_peers_certificate_that_is_none_is_refused(certificate: bytes) -> None:
    with pytest.raises((TlsFailed, ValueError)):
        make_context(HOST, peer=certificate, server_side=False)


def test_without_memory_files_a_pipe_carries_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    before = len(os.listdir("/dev/fd"))
    shake(*pair())
    assert len(os.listdir("/dev/fd")) == before
    assert not hasattr(tls.os, "memfd_create")
