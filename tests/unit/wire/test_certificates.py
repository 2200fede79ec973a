"""Certificates: what `cryptography` and OpenSSL read in what is put together here."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from injector.wire import certificates


def test_fields_and_extensions_are_those_of_go_plugin() -> None:
    certificate = x509.load_der_x509_certificate(certificates.self_signed().certificate)
    certificate.verify_directly_issued_by(certificate)
    for name in (certificate.subject, certificate.issuer):
        assert [entry.value for entry in name] == ["HashiCorp", "localhost"]
        assert [entry.oid for entry in name] == [NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME]
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert certificate.public_key().curve.name == "secp256r1"
    extensions = certificate.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.key_cert_sign
    assert usage.key_encipherment
    assert usage.key_agreement
    assert not usage.crl_sign
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    purposes = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert purposes == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}


def test_it_is_valid_from_now_on_for_go_plugins_thirty_years() -> None:
    certificate = x509.load_der_x509_certificate(certificates.self_signed().certificate)
    now = dt.datetime.now(dt.UTC)
    assert dt.timedelta(seconds=0) < now - certificate.not_valid_before_utc < dt.timedelta(minutes=2)
    assert certificate.not_valid_after_utc - now > dt.timedelta(hours=262_979)


def test_key_and_certificate_belong_together() -> None:
    identity = certificates.self_signed()
    key = serialization.load_pem_private_key(identity.key, None)
    certificate = x509.load_der_x509_certificate(identity.certificate)
    assert key.public_key() == certificate.public_key()


def test_no_two_are_alike() -> None:
    made = [certificates.self_signed() for _ in range(50)]
    assert len({identity.key for identity in made}) == 50
    serials = {x509.load_der_x509_certificate(identity.certificate).serial_number for identity in made}
    assert len(serials) == 50
    assert all(0 < serial < 2**159 for serial in serials)


def test_an_identity_does_not_show_its_key() -> None:
    identity = certificates.self_signed()
    secret = identity.key.decode().splitlines()[1]
    for text in (repr(identity), str(identity), f"{identity}", repr((identity,))):
        assert secret not in text


def test_pem_and_field_lead_back_to_the_certificate() -> None:
    identity = certificates.self_signed()
    assert certificates.from_pem(identity.pem) == identity.certificate
    assert certificates.from_pem("\r\n" + identity.pem.replace("\n", "\r\n")) == identity.certificate
    field = certificates.to_field(identity.certificate)
    assert "=" not in field
    assert certificates.from_field(field) == identity.certificate
    assert certificates.from_field(field + "=" * (-len(field) % 4)) == identity.certificate


@pytest.mark.parametrize("text", ["", "AAAA", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"])
def test_what_is_no_pem_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not"):
        certificates.from_pem(text)


def test_two_certificates_are_not_one() -> None:
    pem = certificates.self_signed().pem
    with pytest.raises(ValueError, match="not one certificate"):
        certificates.from_pem(pem + pem)
    with pytest.raises(ValueError, match="not one certificate"):
        certificates.from_pem(pem + "something else")


@pytest.mark.parametrize("field", ["!" * 60, "A", "AAAA=AAA", "ä" * 60])
def test_a_field_that_is_no_base64_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="not base64"):
        certificates.from_field(field)


def test_importing_it_does_not_import_cryptography() -> None:
    script = (
        "import sys, injector.wire.certificates, injector.wire.tls; assert 'cryptography' not in sys.modules\n"
        "injector.wire.certificates.self_signed(); assert 'cryptography.x509' not in sys.modules\n"
        "assert 'cryptography.hazmat.primitives.serialization' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
