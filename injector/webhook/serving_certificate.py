"""The certificate that the server shows: replaced while it serves, and never by half of another."""

from __future__ import annotations

import contextlib
import os
import ssl
from typing import TYPE_CHECKING

from injector.errors import CertificateInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator


class ServingCertificate:
    """
    A TLS context whose certificate can be replaced: connections that begin later get the new one, others go on.

    `not_after` is when it ends, in seconds since the epoch; None before the first.
    """

    def __init__(self) -> None:
        self.context = _context()
        self.not_after: float | None = None

    def replace(self, certificate: bytes, key: bytes) -> None:
        """
        Serves *certificate* (PEM, the chain after it) with *key* (PEM) from now on.

        Raises CertificateInvalid when they are not usable or do not belong together; what was served stays.
        """
        from cryptography import x509  # late: start-up

        try:
            not_after = x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()
            with _as_file(certificate) as certificate_path, _as_file(key) as key_path:
                # A context that has taken the one and not the other serves neither: it is tried on another first.
                _context().load_cert_chain(certificate_path, key_path, password=_no_password)
                self.context.load_cert_chain(certificate_path, key_path, password=_no_password)
        except (ValueError, OSError):  # ssl.SSLError is one; its text is OpenSSL's, without content
            hint = "both in PEM, the key without a password; while they are being replaced this passes by itself"
            raise CertificateInvalid("the certificate and its key do not fit together", hint=hint) from None
        self.not_after = not_after


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_password() -> str:
    # Else OpenSSL asks on the terminal.
    raise ValueError("the key is encrypted")


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path with *content*, in memory: a read-only file system has no place for it, and a key belongs in none."""
    descriptor = os.memfd_create("injector", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
