"""Which pod this process runs in: from its service account token, which the kubelet binds to the pod."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from injector.errors import ClusterError
from injector.kube.api import CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LARGEST: Final = 64 * 1024
_JWT_PARTS: Final = 3


class Pod(Struct, frozen=True):
    """A pod, by its names. `uid` is empty when it is not known."""

    namespace: str
    name: str
    uid: str = ""


def own_pod(environment: Mapping[str, str], credentials: Path = CREDENTIALS) -> Pod:
    """
    The pod that this process runs in: POD_NAME, POD_NAMESPACE and POD_UID of *environment* go before the token's.

    The token is read, not verified: it is our own, and the API server decides. Raises ClusterError when neither says.
    """
    claims = _claims(credentials / "token")
    told = claims.get("pod")
    pod = told if isinstance(told, dict) else {}
    namespace = environment.get("POD_NAMESPACE") or claims.get("namespace")
    name = environment.get("POD_NAME") or pod.get("name")
    uid = environment.get("POD_UID") or pod.get("uid") or ""
    if not isinstance(namespace, str) or not isinstance(name, str) or not isinstance(uid, str):
        hint = "mount the service account's token, or set POD_NAME, POD_NAMESPACE and POD_UID by the downward API"
        raise ClusterError("it is not known which pod this is", hint=hint)
    return Pod(namespace, name, uid)


def _claims(path: Path) -> dict[str, Any]:
    """What Kubernetes says in the token about its holder; empty for a token that is not there or of another kind."""
    try:
        with path.open("rb") as file:
            parts = file.read(_LARGEST).strip().split(b".")
        if len(parts) != _JWT_PARTS:
            return {}
        padded = parts[1] + b"=" * (-len(parts[1]) % 4)
        claims = msgspec.json.decode(base64.urlsafe_b64decode(padded)).get("kubernetes.io")
    except (OSError, ValueError, binascii.Error, msgspec.DecodeError, AttributeError):
        return {}
    return claims if isinstance(claims, dict) else {}
