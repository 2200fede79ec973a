"""
The door in front of gRPC when the host asks for AutoMTLS or multiplexing: TLS and yamux, and only then gRPC.

gRPC's own TLS cannot verify the certificates of hosts in Go (P-521), and it knows no yamux. So gRPC listens on a
socket that nobody else can reach, and this door on the one that the handshake names. It runs in a thread with an event
loop of its own. Imported only when a host asks for it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from injector.sdk.handshake import StartRefused
from injector.sdk.listener import bind_privately, private_directory
from injector.wire import yamux
from injector.wire.certificates import from_pem, self_signed, to_field
from injector.wire.multiplex import Multiplexer
from injector.wire.relay import LocalEnd, RemoteEnd
from injector.wire.tls import TlsFailed, TlsSession, make_context

if TYPE_CHECKING:
    import ssl

    import grpc

    from injector.sdk.hclog import Logger

_MOST_CONNECTIONS = 32  # a host makes one; who has not shown its certificate counts as well
_HANDSHAKE_WITHIN = 10.0  # seconds for a connection to show that it is the host's
_BACKLOG = 64


class Gateway:
    """
    Takes the host's connections and hands them to gRPC.

    Args:
        client_certificate: what the host says its certificate is, in PEM; empty for no TLS.
        multiplexed: whether connections carry yamux.
        log: where refused connections are told of.

    Raises StartRefused when the certificate is none.
    """

    def __init__(self, *, client_certificate: str, multiplexed: bool, log: Logger) -> None:
        self._multiplexed = multiplexed
        self._log = log
        self._context: ssl.SSLContext | None = None
        self._peer = b""
        self.certificate = ""
        """Our own certificate for the handshake; empty without TLS."""
        if client_certificate:
            self._prepare_tls(client_certificate)
        self._grpc_address = self._grpc_directory = ""
        self._grpc_socket = -1
        self._listener: socket.socket | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._wires = 0
        self._ends = 0
        self._quiet = threading.Event()
        self._quiet.set()

    def _prepare_tls(self, pem: str) -> None:
        identity = self_signed()
        try:
            self._peer = from_pem(pem)
            self._context = make_context(identity, peer=self._peer, server_side=True)
        except (ValueError, TlsFailed):
            raise StartRefused("PLUGIN_CLIENT_CERT is not a certificate") from None
        self.certificate = to_field(identity.certificate)

    def put_before(self, server: grpc.Server, directory: str) -> None:
        """
        Binds *server* to a socket that only this object can reach, made in *directory*, or in a new private one for "".

        On Linux the socket has no name afterwards: it is found through a descriptor of this process. OSError or
        RuntimeError when there is no room for it.
        """
        own = "" if directory else private_directory()
        path = f"{directory or own}/grpc-{os.urandom(6).hex()}"
        try:
            bind_privately(server, path)
            self._grpc_address, self._grpc_directory = path, own
            if hasattr(os, "O_PATH"):
                self._grpc_socket = os.open(path, os.O_PATH | os.O_CLOEXEC)
                self._grpc_address = f"/proc/self/fd/{self._grpc_socket}"
        finally:
            if self._grpc_socket >= 0 or not self._grpc_address:
                _remove(path, own)

    def bind(self, family: int, address: str | tuple[str, int]) -> str | tuple[str, int]:
        """Listens at *address*, a path or a host and port, and gives the address that it became. OSError."""
        # The protocol is named, or asyncio does not switch Nagle's algorithm off for what is accepted.
        listener = socket.socket(family, socket.SOCK_STREAM, 0 if family == socket.AF_UNIX else socket.IPPROTO_TCP)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        bound: str | tuple[str, int] = listener.getsockname()
        return bound if isinstance(bound, str) else (bound[0], bound[1])

    def start(self) -> None:
        """Takes connections from now on, in a thread of its own."""
        threading.Thread(target=lambda: asyncio.run(self._serve()), name="gateway", daemon=True).start()

    def wait_until_quiet(self, timeout: float) -> None:
        """Waits until every connection has had its last byte; *timeout* in seconds."""
        self._quiet.wait(timeout)

    def remove(self) -> None:
        """Removes what is left of gRPC's socket."""
        if self._grpc_socket < 0 and self._grpc_address:
            _remove(self._grpc_address, self._grpc_directory)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._listener is not None
        self._listener.settimeout(0)
        while True:
            try:
                sock, _ = await loop.sock_accept(self._listener)
            except OSError:  # too many descriptors, or the peer has gone already
                await asyncio.sleep(0.1)
                continue
            if self._wires >= _MOST_CONNECTIONS:
                sock.close()
                continue
            self._wires += 1
            self._keep(loop.create_task(self._welcome(sock)))

    async def _welcome(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        wire: asyncio.Protocol = _Wire(self) if self._multiplexed else self.make_end()
        try:
            await loop.connect_accepted_socket(lambda: wire, sock)
        except OSError:
            self._wires -= 1
            sock.close()
            return
        if isinstance(wire, RemoteEnd):
            await asyncio.wait((wire.closed,))
            self._wires -= 1

    def make_end(self) -> RemoteEnd:
        """The protocol of a new connection, or of a new stream of one."""
        tls = None
        if self._context is not None:
            tls = TlsSession(self._context, peer=self._peer, server_side=True)
        end = RemoteEnd(tls)
        self._count(1)
        end.closed.add_done_callback(lambda _: self._count(-1))
        self._keep(asyncio.get_running_loop().create_task(self._join(end)))
        return end

    def wire_lost(self, failure: yamux.ProtocolError | None) -> None:
        """A multiplexed connection is gone."""
        if failure is not None:
            self._log.warn("a connection is refused", reason=f"the peer {failure}")
        self._wires -= 1

    async def _join(self, end: RemoteEnd) -> None:
        try:
            async with asyncio.timeout(_HANDSHAKE_WITHIN):
                await asyncio.shield(end.opened)
        except (TlsFailed, TimeoutError) as error:
            reason = str(error) or "did not finish the TLS handshake in time"
            self._log.warn("a connection is refused: it is not the host's", reason=f"the peer {reason}")
            end.close()
            return
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(lambda: LocalEnd(end), self._grpc_address)
        except OSError:  # gRPC has stopped
            end.close()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    def _count(self, change: int) -> None:
        self._ends += change
        if self._ends:
            self._quiet.clear()
        else:
            self._quiet.set()


def _remove(path: str, directory: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - start-up
    with suppress(OSError):
        if directory:
            os.rmdir(directory)  # noqa: PTH106 - start-up


class _Wire(Multiplexer):
    """A multiplexed connection."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(yamux.Session(is_client=False), gateway.make_end)
        self._gateway = gateway

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._gateway.wire_lost(self.failure)
