"""Certificates of our own, and the server's that is replaced while it serves."""

from __future__ import annotations

import base64
import ssl

import pytest
from cryptography import x509

from injector.errors import CertificateInvalid
from injector.webhook.certificates import Material, from_secret_data, is_ours, is_over, issue, split
from injector.webhook.serving_certificate import ServingCertificate

NAMES = ["webhook.injector.svc", "127.0.0.1"]
NOW = 1_800_000_000.0
DAY = 86_400.0


def handshake(server: ssl.SSLContext, trusted: bytes, name: str = NAMES[0], *, strict: bool = False) -> int:
    """The serial number that a client which trusts *trusted* is shown; ssl.SSLError when it does not trust it."""
    client = ssl.create_default_context(cadata=trusted.decode())
    if strict:
        client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = client.wrap_bio(to_client, to_server, server_hostname=name)
    here = server.wrap_bio(to_server, to_client, server_side=True)
    done = 0
    while done < 2:
        done = 0
        for end in (there, here):
            try:
                end.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                pass
    shown = there.getpeercert(binary_form=True)
    assert shown
    return x509.load_der_x509_certificate(shown).serial_number


def current(lifetime: float = 30 * DAY) -> Material:
    import time

    return issue(NAMES, lifetime, time.time())


@pytest.mark.parametrize("name", NAMES)
def test_a_client_that_trusts_the_bundle_accepts_the_certificate(name: str) -> None:
    material, serving = current(), ServingCertificate()
    serving.replace(material.certificate, material.key)
    handshake(serving.context, b"".join(material.bundle), name)
    with pytest.raises(ssl.SSLError):
        handshake(serving.context, b"".join(current().bundle), name)


def test_strict_clients_accept_it() -> None:
    """Go's verifier, and Python's from 3.13 on, look at key identifiers and usages."""
    material, serving = current(), ServingCertificate()
    serving.replace(material.certificate, material.key)
    handshake(serving.context, b"".join(material.bundle), strict=True)


def test_times() -> None:
    material = issue(NAMES, 30 * DAY, NOW)
    assert material.not_before == NOW - 60
    assert material.not_after == NOW + 30 * DAY
    assert not material.is_due(NOW, NAMES)
    assert not material.is_due(NOW + 19 * DAY, NAMES)
    assert material.is_due(NOW + 20 * DAY, NAMES)
    assert material.is_due(NOW - DAY, NAMES)
    assert material.is_due(NOW, ["other"])


def test_the_authoritys_key_is_nowhere() -> None:
    material = issue(NAMES, DAY, NOW)
    assert material.key.count(b"PRIVATE KEY") == 2  # begin and end of one
    assert b"PRIVATE" not in material.certificate + b"".join(material.bundle)
    assert "PRIVATE" not in repr(material)


def test_the_old_authority_stays_in_the_bundle_while_it_is_valid() -> None:
    first = issue(NAMES, 30 * DAY, NOW)
    second = issue(NAMES, 30 * DAY, NOW + 20 * DAY, first.bundle)
    third = issue(NAMES, 30 * DAY, NOW + 40 * DAY, second.bundle)
    assert second.bundle[1:] == first.bundle
    assert third.bundle[1:] == second.bundle[:1]
    assert is_over(first.bundle[0], NOW + 40 * DAY)
    assert is_ours(first.bundle[0])


def test_a_secret_holds_it_all() -> None:
    material = issue(NAMES, DAY, NOW, issue(NAMES, 3 * DAY, NOW).bundle)
    assert from_secret_data(material.as_secret_data()) == material


@pytest.mark.parametrize("damage", ["missing", "empty", "not base64", "not PEM", "other key", "other authority"])
def test_a_damaged_secret_is_none(damage: str) -> None:
    data, other = issue(NAMES, DAY, NOW).as_secret_data(), issue(NAMES, DAY, NOW).as_secret_data()
    match damage:
        case "missing":
            del data["ca.crt"]
        case "empty":
            data = {}
        case "not base64":
            data["tls.crt"] = "%%%"
        case "not PEM":
            data["tls.crt"] = base64.b64encode(b"-----BEGIN").decode()
        case "other key":
            data["tls.key"] = other["tls.key"]
        case "other authority":
            data["ca.crt"] = other["ca.crt"]
    assert from_secret_data(data) is None
    assert from_secret_data(None) is None


def test_a_bundle_is_split() -> None:
    bundle = issue(NAMES, DAY, NOW, issue(NAMES, DAY, NOW).bundle).bundle
    assert split(b"".join(bundle)) == bundle
    assert split(b" \n") == ()
    with pytest.raises(ValueError, match="PEM"):
        split(b"placeholder")


def test_new_connections_get_the_new_certificate_and_half_of_one_changes_nothing() -> None:
    first, second, serving = current(), current(), ServingCertificate()
    both = b"".join((*first.bundle, *second.bundle))
    serving.replace(first.certificate, first.key)
    shown = handshake(serving.context, both)
    for certificate, key in [(second.certificate, first.key), (b"", b""), (second.certificate, b"-----BEGIN")]:
        with pytest.raises(CertificateInvalid):
            serving.replace(certificate, key)
        assert handshake(serving.context, both) == shown
    serving.replace(second.certificate, second.key)
    assert handshake(serving.context, both) != shown
    assert serving.not_after == second.not_after


def test_an_encrypted_key_is_an_error_and_no_question_on_the_terminal() -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    material = current()
    key = load_pem_private_key(material.key, None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    with pytest.raises(CertificateInvalid):
        ServingCertificate().replace(material.certificate, locked)
