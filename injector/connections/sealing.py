"""
Sealing: AES-256-GCM (NIST SP 800-38D) with a random nonce and associated data, so that what was sealed for one purpose
does not open for another.

A sealed text is version byte 1, nonce (12 bytes), ciphertext with tag. A key file holds 32 random bytes in base64.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from typing import TYPE_CHECKING

from injector.errors import KeyFileInvalid, SealBroken

if TYPE_CHECKING:
    from pathlib import Path

KEY_SIZE = 32
_VERSION = b"\x01"
_NONCE = 12
_TAG = 16
_OTHERS = 0o077


def seal(key: bytes, plain: bytes, purpose: bytes) -> bytes:
    """*plain* sealed under *key* (32 bytes); it opens with the same *purpose* only."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # late: start-up

    nonce = os.urandom(_NONCE)
    return _VERSION + nonce + AESGCM(key).encrypt(nonce, plain, _VERSION + purpose)


def unseal(key: bytes, sealed: bytes, purpose: bytes) -> bytes:
    """
    What was sealed. Raises SealBroken when one bit differs, the key or the purpose is another, or it is cut off; which
    of these it was cannot be known.
    """
    from cryptography.exceptions import InvalidTag  # late: start-up
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if sealed[:1] != _VERSION or len(sealed) < 1 + _NONCE + _TAG:
        raise SealBroken("this was not sealed by injector, or was cut off")
    nonce, rest = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
    try:
        return AESGCM(key).decrypt(nonce, rest, _VERSION + purpose)
    except InvalidTag:
        raise SealBroken(
            "the seal does not open: the key is another one, or what is sealed was changed",
            hint="use the key that it was sealed with",
        ) from None


def new_key() -> bytes:
    """32 bytes from the system's source of randomness."""
    return os.urandom(KEY_SIZE)


def read_key(path: Path) -> bytes:
    """
    The key in the file *path*.

    Raises KeyFileInvalid when it is missing, may be read by others than its owner, or holds something else.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read(1024)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise KeyFileInvalid(f"the key file {path} cannot be read: {reason}", hint="name the right file") from None
    if stat.S_IMODE(status.st_mode) & _OTHERS and not _is_mounted_read_only(path):
        raise KeyFileInvalid(f"others may read the key file {path}", hint=f"chmod 600 {path}")
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_SIZE:
        raise KeyFileInvalid(f"the key file {path} does not hold a key", hint="a key is 32 bytes, written in base64")
    return key


def _is_mounted_read_only(path: Path) -> bool:
    # A Secret of Kubernetes is mounted 0644 by default, on a file system of the container's own.
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def key_text(key: bytes) -> bytes:
    """What a key file holds, with a line break."""
    return base64.b64encode(key) + b"\n"
