"""
The HTTP that plugins have: every request held against the policy of its connection, signed here, bounded and logged.

One request, one connection: a guest lives for one batch, and nothing of it may be left for the next.
"""

from __future__ import annotations

import http.client
import re
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

import msgspec
from msgspec import Struct

from injector.backends.wasm import http_connection
from injector.backends.wasm.http_address import admitted
from injector.backends.wasm.http_pace import Pace, within
from injector.backends.wasm.http_proxy import proxy_for
from injector.errors import BackendUnavailable, CallTimeout, InjectorError, PluginHttpRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from injector.backends.wasm.http_policy import HttpPolicy, Target
    from injector.backends.wasm.http_proxy import Proxy
    from injector.backends.wasm.manifest import Manifest
    from injector.backends.wasm.signing import Signers
    from injector.telemetry.logs import Log

Headers = tuple[tuple[str, str], ...]

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,256}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,16384}")
_OURS: Final = frozenset({
    *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect"),
    *("proxy-authorization", "proxy-connection", "proxy-authenticate"),
})  # fmt: skip
# What another origin may learn. A list of credential headers would never be complete: X-Vault-Token, X-Api-Key, …
_KEPT_ACROSS_ORIGINS: Final = frozenset({"accept", "accept-encoding", "accept-language", "user-agent"})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD: Final = frozenset({307, 308})
_CHUNK: Final = 64 * 1024
_WIRE_FACTOR: Final = 8  # bytes on the wire for one of the body, when it comes in the smallest chunks


class HttpRequest(Struct, frozen=True):
    """
    What a guest asks for. `signature` is the kind and scope that it wants the host to sign with, if it says so;
    `timeout` (seconds) and `rate` (requests of the connection a second) are limits of its own.
    """

    method: str
    url: str
    headers: Headers = ()
    body: bytes = b""
    signature: Mapping[str, str] | None = None
    timeout: float | None = None
    rate: float | None = None

    def __repr__(self) -> str:
        return f"HttpRequest({self.method})"


class HttpResponse(Struct, frozen=True):
    """The answer; names of headers are in lower case, the body is as it came over the wire, compressed or not."""

    status: int
    headers: Headers
    body: bytes

    def __repr__(self) -> str:
        return f"HttpResponse({self.status})"


class HttpClient:
    """
    The requests of one connection's plugin. Safe to use from any thread.

    Args:
        policy: what may be asked.
        signers: what is signed here, so that no credential enters the guest.
        environment: for https_proxy, http_proxy and no_proxy.
        log: gets one line for each request: host, status, bytes; no header, no path.
        identity: `pluginID:conn-{connectionID}`, for the log.
        pace: when requests with a rate of their own go out.
    """

    def __init__(
        self,
        policy: HttpPolicy,
        signers: Signers,
        *,
        environment: Mapping[str, str],
        log: Log,
        identity: str,
        pace: Pace | None = None,
    ) -> None:
        self.policy = policy
        self._signers = signers
        self._environment = environment
        self._log = log
        self._identity = identity
        self._pace = pace or Pace()
        self._context: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    @property
    def is_granted(self) -> bool:
        """Whether there is any host that may be asked."""
        return bool(self.policy.hosts)

    def narrowed_by(self, manifest: Manifest) -> HttpClient:
        """The same client within the limits of a module's own manifest."""
        most = manifest.memory.max_http_response_bytes
        limit = self.policy.max_response_bytes
        policy = msgspec.structs.replace(
            self.policy,
            narrowed_to=manifest.allowed_hosts,
            max_response_bytes=limit if most is None else min(limit, most),
        )
        return HttpClient(
            policy,
            self._signers,
            environment=self._environment,
            log=self._log,
            identity=self._identity,
            pace=self._pace,
        )

    def send(self, request: HttpRequest, left: Callable[[], float]) -> HttpResponse:
        """
        The answer to *request*, after the redirects that the policy lets us follow.

        Args:
            left: the seconds that the call has left; may raise when it was cancelled.

        Raises:
            PluginHttpRefused: the policy forbids it, or an answer is larger than it allows.
            CallTimeout: no time left.
            Throttled: its turn would come when no time is left.
            BackendUnavailable: no connection, a broken one, or a certificate that is not to be trusted.
        """
        request = _cleaned(request, self.policy)
        origin: Target | None = None
        is_home = True  # for good: another host must not choose what is signed
        for hop in range(self.policy.redirects + 1):
            target = self._checked(request.url)
            if origin is None:
                origin = target
            is_home = is_home and (target.scheme, target.origin) == (origin.scheme, origin.origin)
            response = self._send_once(request, target, left, is_signed=is_home)
            following = _following(request, response, target) if hop < self.policy.redirects else None
            if following is None:
                return response
            request = following
        raise AssertionError("unreachable")  # the last hop returns

    def _checked(self, url: str) -> Target:
        try:
            return self.policy.check(url)
        except PluginHttpRefused as error:
            self._log.warning("a plugin's HTTP request is refused", plugin=self._identity, reason=error.message)
            raise

    def _send_once(
        self, request: HttpRequest, target: Target, left: Callable[[], float], *, is_signed: bool
    ) -> HttpResponse:
        if request.rate is not None:
            self._pace.wait(request.rate, left)
        if request.timeout is not None:
            left = within(request.timeout, left)
        started = time.monotonic()
        status, size, problem = 0, 0, ""
        try:
            if is_signed:
                request = self._signers.sign(request, target)
            response = self._exchanged(request, target, left)
            status, size = response.status, len(response.body)
        except InjectorError as error:
            problem = error.code
            raise
        else:
            return response
        finally:
            facts: dict[str, Any] = {"method": request.method, "host": target.origin, "status": status, "bytes": size}
            if problem:
                facts["problem"] = problem
            took = round((time.monotonic() - started) * 1000, 1)
            self._log.info("a plugin's HTTP request", plugin=self._identity, **facts, ms=took)

    def _exchanged(self, request: HttpRequest, target: Target, left: Callable[[], float]) -> HttpResponse:
        try:
            return self._exchange(request, target, left)
        except TimeoutError:
            limit = "in time" if request.timeout is None else f"within {request.timeout:g} s, the plugin's own limit"
            raise CallTimeout(f"{target.origin} did not answer {limit}") from None
        except http_connection.TooMuch:
            raise _too_large(target, self.policy.max_response_bytes) from None
        except ssl.SSLCertVerificationError as error:
            raise BackendUnavailable(
                f"the certificate of {target.origin} is not to be trusted: {error.verify_message}",
                hint="for a private certificate authority set injector.http.caFile of the connection",
            ) from None
        except ssl.SSLError as error:
            raise BackendUnavailable(f"no TLS with {target.origin}: {error.reason or 'it broke off'}") from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise BackendUnavailable(f"the connection to {target.origin} broke off: {reason}") from None
        except (http.client.HTTPException, ValueError):
            raise BackendUnavailable(f"{target.origin} answered with what is no HTTP") from None

    def _exchange(self, request: HttpRequest, target: Target, left: Callable[[], float]) -> HttpResponse:
        proxy = proxy_for(target, self._environment)
        raw = self._connected(target, proxy, left)
        try:
            if target.scheme == "https":
                if proxy is not None:
                    http_connection.tunnel(raw, target, proxy, left)
                raw = http_connection.secured(raw, target, self._tls(), left)
            timed = http_connection.TimedSocket(raw, left, allowance=self.policy.max_header_bytes)
            connection = http_connection.over(timed, target)
            _put(connection, request, target, proxy if target.scheme == "http" else None)
            with connection.getresponse() as response:
                headers = tuple((name.lower(), value) for name, value in response.getheaders())
                timed.allowance += self.policy.max_response_bytes * _WIRE_FACTOR + _CHUNK
                return HttpResponse(response.status, headers, self._body(response, target))
        finally:
            raw.close()

    def _connected(self, target: Target, proxy: Proxy | None, left: Callable[[], float]) -> Any:
        if proxy is None:
            return http_connection.connected(admitted(target, self.policy, left), target.port, left)
        # The proxy looks the name up; what can be checked here is an address in place of a name.
        if target.address is not None:
            admitted(target, self.policy, left)
        from injector.backends.wasm.http_address import look_up

        return http_connection.connected(look_up(proxy.host, left), proxy.port, left)

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                try:
                    self._context = ssl.create_default_context(cafile=self.policy.ca_file)
                except OSError as error:
                    raise PluginHttpRefused(
                        f"the certificate authorities of {self.policy.ca_file} cannot be read: {error.strerror}",
                        hint="injector.http.caFile of the connection is a file of certificates in PEM",
                    ) from None
                self._context.set_alpn_protocols(["http/1.1"])
            return self._context

    def _body(self, response: http.client.HTTPResponse, target: Target) -> bytes:
        limit = self.policy.max_response_bytes
        if response.length is not None and response.length > limit:
            raise _too_large(target, limit)
        body = bytearray()
        while piece := response.read1(_CHUNK):
            body += piece
            if len(body) > limit:
                raise _too_large(target, limit)
        if response.length:  # what is left of what was announced
            raise BackendUnavailable(f"{target.origin} broke off in the middle of its answer")
        return bytes(body)


def _cleaned(request: HttpRequest, policy: HttpPolicy) -> HttpRequest:
    """*request* with what the host decides left out. Raises PluginHttpRefused for what must not be sent."""
    method = request.method.upper()
    if method not in _METHODS:
        raise PluginHttpRefused("the request's method is none that plugins may use", hint=", ".join(sorted(_METHODS)))
    if len(request.body) > policy.max_request_bytes:
        raise PluginHttpRefused(f"the request's body is larger than {policy.max_request_bytes} bytes")
    headers: list[tuple[str, str]] = []
    for name, value in request.headers:
        name = name.lower()
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise PluginHttpRefused("a header of the request has characters that headers have not, or is too long")
        if name not in _OURS:
            headers.append((name, value.strip()))
    if sum(len(name) + len(value) for name, value in headers) > policy.max_header_bytes:
        raise PluginHttpRefused(f"the request's headers are larger than {policy.max_header_bytes} bytes")
    return msgspec.structs.replace(request, method=method, headers=tuple(headers))


def _put(connection: http.client.HTTPConnection, request: HttpRequest, target: Target, proxy: Proxy | None) -> None:
    connection.putrequest(
        request.method, target.path if proxy is None else target.url, skip_host=True, skip_accept_encoding=True
    )
    connection.putheader("Host", target.host_header)
    connection.putheader("Connection", "close")
    names = {name for name, _ in request.headers}
    if "accept-encoding" not in names:
        connection.putheader("Accept-Encoding", "identity")
    if proxy is not None and proxy.authorization:
        connection.putheader("Proxy-Authorization", proxy.authorization)
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        connection.putheader("Content-Length", str(len(request.body)))
    for name, value in request.headers:
        connection.putheader(name, value.encode("latin-1"))
    connection.endheaders(request.body or None)


def _following(request: HttpRequest, response: HttpResponse, target: Target) -> HttpRequest | None:
    """The request that a redirect asks for; None when *response* is what the guest gets."""
    location = first(response.headers, "location")
    if response.status not in _REDIRECTS or location is None:
        return None
    try:
        url = urljoin(target.url, location)
    except ValueError:
        raise BackendUnavailable(f"{target.origin} redirects to what is no URL") from None
    method, body, headers = request.method, request.body, request.headers
    if response.status not in _SAME_METHOD and method not in ("GET", "HEAD"):
        method, body = "GET", b""
        headers = tuple((name, value) for name, value in headers if not name.startswith("content-"))
    scheme, _, rest = url.partition("://")
    same = scheme == target.scheme and rest.startswith(f"{target.host_header}/")
    if target.scheme == "https" and scheme != "https":
        raise PluginHttpRefused(f"{target.origin} redirects from https to {scheme[:10]}", hint="this is never followed")
    if not same:
        if body:
            return None  # it may hold a credential, and another host has no business with it
        headers = tuple((name, value) for name, value in headers if name in _KEPT_ACROSS_ORIGINS)
    return msgspec.structs.replace(request, method=method, url=url, headers=headers, body=body)


def first(headers: Sequence[tuple[str, str]], name: str) -> str | None:
    """The first value of the header *name* (in lower case), None when there is none."""
    return next((value for known, value in headers if known == name), None)


def _too_large(target: Target, limit: int) -> PluginHttpRefused:
    return PluginHttpRefused(
        f"the answer of {target.origin} is larger than {limit} bytes, or its head is too large",
        hint="raise injector.http.maxResponseSize of the connection if it is meant to be so large",
    )
