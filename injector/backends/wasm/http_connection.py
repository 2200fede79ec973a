"""One connection for one request, on http.client: to a checked address, by the clock, with a bound on every byte."""

from __future__ import annotations

import http.client
import io
import socket
from typing import TYPE_CHECKING, Any

from injector.errors import BackendUnavailable, CallTimeout

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from injector.backends.wasm.http_policy import IPAddress, Target
    from injector.backends.wasm.http_proxy import Proxy

_LOOK_EVERY = 0.5  # seconds: a call that is cancelled has no time left at once
_PIECE = 64 * 1024
_MOST_PROXY_BYTES = 64 * 1024


class TooMuch(Exception):
    """The other side sent more bytes than were allowed."""


class TimedSocket:
    """
    What http.client needs of a socket. Every wait ends when *left* has no seconds any more.

    http.client's own time-out begins anew with every byte, and it reads trailers without a bound.
    """

    def __init__(self, raw: socket.socket, left: Callable[[], float], *, allowance: int) -> None:
        self.raw = raw
        self._left = left
        self.allowance = allowance

    def sendall(self, data: bytes) -> None:
        """Sends all of *data*. Raises TimeoutError, OSError."""
        view = memoryview(data).cast("B")
        while view:
            self.raw.settimeout(self._seconds())
            view = view[self.raw.send(view[:_PIECE]) :]

    def receive_into(self, buffer: Any) -> int:
        """At most as many bytes as are allowed. Raises TooMuch, TimeoutError, OSError."""
        while True:
            self.raw.settimeout(min(self._seconds(), _LOOK_EVERY))
            try:
                count = self.raw.recv_into(buffer)
            except TimeoutError:
                continue
            self.allowance -= count
            if self.allowance < 0:
                raise TooMuch
            return count

    def makefile(self, mode: str) -> io.BufferedReader:
        """The reading side; *mode* is `rb`."""
        assert mode == "rb"
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Nothing: http.client gives the socket up before the answer is read; whoever connected closes `raw`."""

    def _seconds(self) -> float:
        seconds = self._left()
        if seconds <= 0:
            raise TimeoutError
        return seconds


class _Reader(io.RawIOBase):
    def __init__(self, source: TimedSocket) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._source.receive_into(buffer)


def connected(addresses: Sequence[IPAddress], port: int, left: Callable[[], float]) -> socket.socket:
    """
    A socket to the first of *addresses* that answers; each gets a fair part of the time that is left.

    Raises:
        CallTimeout: none did in time.
        BackendUnavailable: all refused.
    """
    failure = ""
    for place, address in enumerate(addresses):
        seconds = left()
        if seconds <= 0:
            break
        try:
            return socket.create_connection((str(address), port), seconds / (len(addresses) - place))
        except TimeoutError:
            failure = ""
        except OSError as error:
            failure = error.strerror or type(error).__name__
    if failure:
        raise BackendUnavailable(f"no connection: {failure}")
    raise CallTimeout("no connection in time")


def tunnel(raw: socket.socket, target: Target, proxy: Proxy, left: Callable[[], float]) -> None:
    """
    Asks *proxy* for a connection to *target*, by its name: the proxy has the resolver and the rules for it.

    Raises:
        BackendUnavailable: it does not let us. TooMuch, OSError, http.client.HTTPException: the connection failed.
    """
    connection = over(TimedSocket(raw, left, allowance=_MOST_PROXY_BYTES), target)
    connection.putrequest("CONNECT", target.origin, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", target.origin)
    if proxy.authorization:
        connection.putheader("Proxy-Authorization", proxy.authorization)
    connection.endheaders()
    with connection.getresponse() as response:
        if response.status != http.client.OK:
            raise BackendUnavailable(f"the proxy answers HTTP {response.status}", hint="check https_proxy and no_proxy")


def secured(raw: socket.socket, target: Target, context: ssl.SSLContext, left: Callable[[], float]) -> ssl.SSLSocket:
    """*raw* with TLS, after the certificate was held against the target's name. Takes *raw* over in any case."""
    seconds = left()
    if seconds <= 0:
        raise TimeoutError
    raw.settimeout(seconds)
    # Without suppressing: a body that ends with the connection could otherwise be cut short by anybody between.
    return context.wrap_socket(raw, server_hostname=target.host, suppress_ragged_eofs=False)


def over(timed: TimedSocket, target: Target) -> http.client.HTTPConnection:
    """http.client on a socket that stands; it never opens one of its own."""
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.auto_open = 0
    connection.sock = timed
    return connection
