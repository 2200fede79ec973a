"""
Certificates of our own: an authority for each, whose private key is thrown away.

So nobody can issue a second one, and every renewal is a change of the authority: one way, always walked.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cryptography.x509 import Certificate, CertificateBuilder

_AUTHORITY: Final = "injector webhook authority"
_CLOCK_SKEW: Final = timedelta(minutes=1)
_CERTIFICATE, _KEY, _BUNDLE = "tls.crt", "tls.key", "ca.crt"


class Material(Struct, frozen=True):
    """
    What one Secret holds: `certificate` and `key` in PEM, `bundle` the authorities to trust, each in PEM, the
    certificate's own first. Times in seconds since the epoch.
    """

    certificate: bytes
    key: bytes
    bundle: tuple[bytes, ...]
    names: frozenset[str]
    not_before: float
    not_after: float

    def __repr__(self) -> str:
        return f"Material(not_after={self.not_after})"

    def is_due(self, now: float, names: Iterable[str]) -> bool:
        """Whether it is time for the next: two thirds are over, or it is for other names, or not valid yet."""
        used = now - self.not_before
        return used >= (self.not_after - self.not_before) * 2 / 3 or self.names != set(names) or used < 0

    def as_secret_data(self) -> dict[str, str]:
        """The `data` of the Secret."""
        pairs = {_CERTIFICATE: self.certificate, _KEY: self.key, _BUNDLE: b"".join(self.bundle)}
        return {name: base64.b64encode(content).decode("ascii") for name, content in pairs.items()}


def issue(names: Sequence[str], lifetime: float, now: float, previous: Iterable[bytes] = ()) -> Material:
    """
    A new certificate for the server *names* (host names or addresses), valid for *lifetime* seconds from *now*.

    *previous* are authorities (PEM) whose certificates may still be served; those that are over are left out.
    """
    from cryptography import x509  # late: start-up
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    start, end = _span(now, lifetime)
    issuer = _name(_AUTHORITY)
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        _builder(issuer, issuer, authority_key.public_key(), start, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        _builder(issuer, _name("injector webhook"), key.public_key(), start, end)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return Material(
        certificate=certificate.public_bytes(Encoding.PEM),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        bundle=(authority.public_bytes(Encoding.PEM), *(old for old in previous if not is_over(old, now))),
        names=frozenset(names),
        not_before=start.timestamp(),
        not_after=end.timestamp(),
    )


def from_secret_data(data: Mapping[str, str] | None) -> Material | None:
    """What a Secret's `data` holds; None when it is empty, damaged, or not of our making."""
    from cryptography import x509  # late: start-up
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        certificate, key, bundle = (
            base64.b64decode((data or {})[name], validate=True) for name in (_CERTIFICATE, _KEY, _BUNDLE)
        )
        leaf = x509.load_pem_x509_certificate(certificate)
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        authorities = split(bundle)
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authorities[0]))
        if not _belongs(leaf, key):
            return None
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error):
        return None
    except (x509.ExtensionNotFound, InvalidSignature, UnsupportedAlgorithm):
        return None
    names = [str(name.value) for name in alternative]
    not_before, not_after = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    return Material(certificate, key, authorities, frozenset(names), not_before, not_after)


def split(bundle: bytes) -> tuple[bytes, ...]:
    """Each certificate of *bundle* (PEM) by itself. ValueError when it is not PEM."""
    from cryptography import x509  # late: start-up
    from cryptography.hazmat.primitives.serialization import Encoding

    if not bundle.strip():
        return ()
    return tuple(each.public_bytes(Encoding.PEM) for each in x509.load_pem_x509_certificates(bundle))


def is_over(authority: bytes, now: float) -> bool:
    """Whether *authority* (one certificate, PEM) is not valid any more."""
    from cryptography import x509  # late: start-up

    return x509.load_pem_x509_certificate(authority).not_valid_after_utc.timestamp() <= now


def is_ours(authority: bytes) -> bool:
    """Whether *authority* (one certificate, PEM) calls itself one of ours."""
    from cryptography import x509  # late: start-up

    return bool(x509.load_pem_x509_certificate(authority).subject == _name(_AUTHORITY))


def _span(now: float, lifetime: float) -> tuple[datetime, datetime]:
    moment = datetime.fromtimestamp(int(now), UTC)
    return moment - _CLOCK_SKEW, moment + timedelta(seconds=max(1, int(lifetime)))


def _name(common: str) -> Any:
    from cryptography import x509  # late: start-up

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _builder(issuer: Any, subject: Any, public_key: Any, start: datetime, end: datetime) -> CertificateBuilder:
    from cryptography import x509  # late: start-up

    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _usage(*, signs_certificates: bool) -> Any:
    from cryptography import x509  # late: start-up

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> Any:
    import ipaddress

    from cryptography import x509  # late: start-up

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _belongs(certificate: Certificate, key: bytes) -> bool:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # late: start-up

    return load_pem_private_key(key, None).public_key() == certificate.public_key()
