"""Where the server's certificate comes from: files that somebody else renews, or a Secret of our own."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - msgspec reads the fields' types
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from injector.errors import CertificateInvalid

if TYPE_CHECKING:
    from injector.webhook.keeper import SelfSignedKeeper


class Pair(Struct, frozen=True):
    """A certificate and its key, in PEM. `is_new_authority` when it must settle before it is served."""

    certificate: bytes
    key: bytes
    is_new_authority: bool = False

    def __repr__(self) -> str:
        return "Pair(...)"


class CertificateSource(Protocol):
    """Where the certificate comes from. `look` may block, and raises CertificateInvalid or ClusterError."""

    def look(self) -> Pair: ...


class FilePair(Struct, frozen=True):
    """A certificate and a key in files that somebody else renews."""

    certificate: Path
    key: Path

    def look(self) -> Pair:
        try:
            return Pair(self.certificate.read_bytes(), self.key.read_bytes())
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "its name holds a NUL character"
            raise CertificateInvalid(f"the certificate or its key cannot be read: {reason}") from None


class KeptPair:
    """The certificate of our own that a keeper keeps."""

    def __init__(self, keeper: SelfSignedKeeper) -> None:
        self._keeper = keeper

    def look(self) -> Pair:
        material = self._keeper.look()
        return Pair(material.certificate, material.key, is_new_authority=True)
