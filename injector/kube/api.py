"""
A few calls of the API server, for a process that lasts: plain REST, without the package `kubernetes` and its 65 MB.
"""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from injector.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping

CREDENTIALS: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LARGEST: Final = 8 * 1024 * 1024
_FIRST_FAILURE: Final = 400


class ClusterApi:
    """
    The API server at *host* and *port*, as the service account whose `token` and `ca.crt` are in *credentials*.

    Both files are read anew for each call: the kubelet replaces them. *timeout* in seconds, for each step of a call.
    Blocking: an event loop runs calls in a thread.
    """

    def __init__(self, host: str, port: int, credentials: Path = CREDENTIALS, *, timeout: float = 10.0) -> None:
        self._host = host
        self._port = port
        self._credentials = credentials
        self._timeout = timeout

    @classmethod
    def of_pod(cls, environment: Mapping[str, str], credentials: Path = CREDENTIALS) -> ClusterApi:
        """The API server that a pod's *environment* names. Raises ClusterError when it names none."""
        host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "443")
        if not host or not (port.isascii() and port.isdigit() and len(port) < 6):
            hint = "it is set in every pod; elsewhere set KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT"
            raise ClusterError("there is no API server in the environment", hint=hint)
        return cls(host, int(port), credentials)

    def call(self, method: str, path: str, body: object = None, *, content_type: str = "application/json") -> Any:
        """
        The answer's document. *path* with a leading `/`; *body* is sent as JSON, unless it is None.

        Raises ClusterError, with the `status` when the server refused.
        """
        try:
            headers = {"Authorization": f"Bearer {self._token()}", "Accept": "application/json"}
            context = ssl.create_default_context(cafile=str(self._credentials / "ca.crt"))
        except (OSError, ValueError):
            hint = "mount the service account's token, or correct --api-credentials"
            raise ClusterError(f"no usable token and ca.crt in {self._credentials}", hint=hint) from None
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)
        try:
            data = None if body is None else msgspec.json.encode(body)
            connection.request(method, path, data, {**headers, "Content-Type": content_type} if data else headers)
            response = connection.getresponse()
            content = response.read(_LARGEST)
        except (OSError, http.client.HTTPException) as error:
            raise ClusterError(f"{method} {path}: {_kind_of(error)}") from None
        finally:
            connection.close()
        if response.status >= _FIRST_FAILURE:
            raise _refusal(method, path, response.status)
        return _document(method, path, content)

    def _token(self) -> str:
        return (self._credentials / "token").read_text("ascii").strip()


def _document(method: str, path: str, content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ClusterError(f"{method} {path}: the answer is not JSON") from None


def _refusal(method: str, path: str, status: int) -> ClusterError:
    hints = {
        401: "the API server does not know the token",
        403: f"the service account needs the verb of {method} for it",
        404: "it does not exist",
    }
    return ClusterError(f"{method} {path}: status {status}", status=status, hint=hints.get(status))


def _kind_of(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "the API server's certificate is not of the authority in ca.crt"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    return f"no answer ({type(error).__name__})"
