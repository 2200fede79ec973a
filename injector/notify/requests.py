"""
Sends the HTTP request of a notification, with the standard library, in a thread.

No redirect is followed, little of the answer is read, and only a certificate that holds is good enough. What is shown
of an address is its scheme, host and path: user, password and query are not.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import ipaddress
import os
import socket
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from injector.errors import NotifyDenied, NotifyError, NotifyFailed, NotifyTimeout
from injector.notify.threads import in_thread

if TYPE_CHECKING:
    from injector.settings.actions import HttpAction

_MOST_OF_THE_BODY: Final = 4096  # bytes; read so that the server can send it, and dropped
_LONGEST_RETRY_AFTER: Final = 3600.0
_REFUSED: Final = frozenset({401, 403, 407})


async def request(action: HttpAction) -> None:
    """
    One request, whose answer has one of the expected statuses.

    Raises:
        NotifyFailed: another status, no server, no name, a certificate that does not hold.
        NotifyDenied: status 401, 403 or 407, or a socket that we may not use.
        NotifyTimeout: no answer in time.
    """
    call = _Call(action)
    try:
        async with asyncio.timeout(action.timeout):
            await in_thread(call)
    except TimeoutError:
        raise _too_slow(action) from None
    finally:
        call.break_off()


def shown(url: str) -> str:
    """*url* without what may be secret."""
    if url.startswith("unix:"):
        return url.partition("?")[0]
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class _Call:
    """One request, to be called in a thread; `break_off` ends it from another."""

    def __init__(self, action: HttpAction) -> None:
        self._action = action
        self._connections: list[http.client.HTTPConnection] = []

    def __call__(self) -> None:
        try:
            self._send()
        except urllib.error.URLError as error:
            raise self._failure(error.reason) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._failure(error) from None

    def break_off(self) -> None:
        """Ends what the thread may still wait for: a server that sends a byte now and then would keep it for ever."""
        for connection in self._connections:
            with contextlib.suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _send(self) -> None:
        action = self._action
        prepared = _prepared(action)
        # Built by hand: `build_opener` would add redirects, and file: and ftp: addresses.
        opener = urllib.request.OpenerDirector()
        if not _is_local(action.url):
            opener.add_handler(urllib.request.ProxyHandler())
        opener.add_handler(_Handler(self._connections, _socket_path(action.url)))
        if action.url.startswith("https:"):
            opener.add_handler(_SecureHandler(self._connections, _trust(action)))
        with opener.open(prepared, timeout=action.timeout) as answer:
            self._judge(answer.status, answer.headers.get("Retry-After"))
            answer.read1(_MOST_OF_THE_BODY)

    def _judge(self, status: int, retry_after: str | None) -> None:
        expected = self._action.expect
        if status in expected or (not expected and 200 <= status < 300):
            return
        message = f"{shown(self._action.url)} answered with status {status}"
        if status in _REFUSED:
            raise NotifyDenied(message, hint="look at the address's user and password, and at headers")
        if 300 <= status < 400:
            raise NotifyFailed(message, hint="redirects are not followed: write the address that it leads to")
        raise NotifyFailed(message, retry_after=_seconds(retry_after))

    def _failure(self, reason: object) -> NotifyError:
        where = shown(self._action.url)
        match reason:
            case TimeoutError():
                return _too_slow(self._action)
            case ssl.SSLCertVerificationError():
                hint = "caFile: the file with the certificate of its authority"
                return NotifyFailed(f"{where}: its certificate does not hold: {reason.verify_message}", hint=hint)
            case ssl.SSLError():
                return NotifyFailed(f"{where}: no TLS connection could be made", hint="does it speak https://?")
            case socket.gaierror():
                return NotifyFailed(f"{where}: its host's name is not known")
            case PermissionError():
                return NotifyDenied(f"{where}: {os.strerror(reason.errno or 0).lower()}")
            case OSError() if reason.errno:
                return NotifyFailed(f"{where}: {os.strerror(reason.errno).lower()}")
        return NotifyFailed(f"{where}: no proper HTTP answer")


def _trust(action: HttpAction) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=action.ca_file)
    except OSError:  # ssl.SSLError is one
        raise NotifyFailed(
            f"caFile {action.ca_file} holds no certificates, or cannot be read", hint="PEM is expected"
        ) from None


def _too_slow(action: HttpAction) -> NotifyTimeout:
    return NotifyTimeout(f"{shown(action.url)} did not answer within {action.timeout:g} s")


def _prepared(action: HttpAction) -> urllib.request.Request:
    headers = {"User-Agent": "injector", **dict(action.headers)}
    if _socket_path(action.url):
        # The host is a formality there; the socket's path is given to the handler.
        return urllib.request.Request(
            f"http://localhost{_socket_target(action.url)}", None, headers, method=action.method
        )
    parts = urlsplit(action.url)
    credentials, _, host = parts.netloc.rpartition("@")
    if credentials and not any(name.lower() == "authorization" for name in headers):
        plain = ":".join(unquote(part) for part in credentials.split(":", 1))
        headers["Authorization"] = "Basic " + base64.b64encode(plain.encode()).decode()
    url = urlunsplit((parts.scheme, host, parts.path or "/", parts.query, ""))
    return urllib.request.Request(url, None, headers, method=action.method)  # noqa: S310  # checked by the settings


def _socket_path(url: str) -> str:
    return url.removeprefix("unix:").partition(":")[0] if url.startswith("unix:") else ""


def _socket_target(url: str) -> str:
    return url.removeprefix("unix:").partition(":")[2] or "/"


def _is_local(url: str) -> bool:
    """Whether it is on this machine (in this pod): no proxy could reach it."""
    host = (urlsplit(url).hostname or "") if not url.startswith("unix:") else ""
    if host in {"", "localhost"} or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _seconds(retry_after: str | None) -> float | None:
    # Its other form, a date, depends on two clocks: our own pause does then.
    if retry_after is None or not retry_after.strip().isascii() or not retry_after.strip().isdigit():
        return None
    return min(float(retry_after.strip()[:9]), _LONGEST_RETRY_AFTER)


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    socket_path = ""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.socket_path)


class _Handler(urllib.request.HTTPHandler):
    """Plain HTTP, over TCP or a Unix socket; what it opens is in *connections*."""

    def __init__(self, connections: list[http.client.HTTPConnection], socket_path: str) -> None:
        super().__init__()
        self._connections = connections
        self._socket_path = socket_path

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connect, req)

    def _connect(self, host: str, **options: Any) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._socket_path:
            connection = _SocketConnection(host, **options)
            connection.socket_path = self._socket_path
        else:
            connection = http.client.HTTPConnection(host, **options)
        self._connections.append(connection)
        return connection


class _SecureHandler(urllib.request.HTTPSHandler):
    """HTTPS; what it opens is in *connections*."""

    def __init__(self, connections: list[http.client.HTTPConnection], context: ssl.SSLContext) -> None:
        super().__init__()
        self._connections = connections
        self._tls = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connect, req)

    def _connect(self, host: str, **options: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPSConnection(host, **(options | {"context": self._tls}))
        self._connections.append(connection)
        return connection
