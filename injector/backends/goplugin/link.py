"""
The way from gRPC to a plugin: straight to its socket, or through TLS and yamux in this process.

gRPC takes an address and not a connection, so with TLS or multiplexing it is given a socket of ours in the private
directory. That socket takes one connection, from this process, and is gone. See decision 0010.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

from injector.backends.goplugin.peer import check_peer, peer_credentials
from injector.wire.relay import LocalEnd, RemoteEnd
from injector.wire.tls import TlsSession, make_context

if TYPE_CHECKING:
    from pathlib import Path

    from injector.backends.goplugin.handshake import Handshake
    from injector.telemetry.logs import Log
    from injector.wire.certificates import Identity
    from injector.wire.tls import TlsFailed

_SOCKET_NAME = "host"


class NotListening(Exception):
    """Nobody listens where the plugin said that it would."""


class Link:
    """
    The connection below gRPC's; give it back with `close`.

    Args:
        handshake: where the plugin listens, and its certificate.
        identity: our own certificate, when the plugin was asked for AutoMTLS.
        multiplex: whether yamux was asked for.
        directory: the private directory for gRPC's socket.
    """

    def __init__(self, handshake: Handshake, *, identity: Identity | None, multiplex: bool, directory: Path) -> None:
        self._handshake = handshake
        self._identity = identity if handshake.certificate is not None else None
        self._multiplex = multiplex
        self._path = directory / _SOCKET_NAME
        self._remote: RemoteEnd | None = None
        self._wire: asyncio.Transport | None = None
        self._joining: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None

    @property
    def failure(self) -> TlsFailed | None:
        """Why TLS has ended the connection, if it has."""
        return self._remote.failure if self._remote is not None else None

    async def open(self, *, expected_pid: int, name: str, log: Log) -> str:
        """
        Connects as far as it is ours to do, and gives the address for gRPC. Has no time-out of its own.

        Raises:
            NotListening: nobody listens at the handshake's address.
            TlsFailed: the plugin is not the one of its handshake, or does not take us for its host.
            PluginError: another user's process listens there.
        """
        session = self._tls_session()
        sock = await _connect(self._handshake)
        try:
            check_peer(sock, expected_pid=expected_pid, name=name, log=log)
            if session is None and not self._multiplex:
                sock.close()  # gRPC makes its own; this one was for the look at who listens
                return direct_target(self._handshake)
            self._remote = remote = RemoteEnd(session)
            await self._attach(sock, remote)
        except BaseException:
            sock.close()
            raise
        await asyncio.shield(remote.opened)
        self._listener = self._listen()
        self._joining = asyncio.create_task(self._join(self._listener, remote))
        return _unix_target(str(self._path))

    async def close(self) -> None:
        """Ends the connection. May be called more than once."""
        if self._joining is not None:
            self._joining.cancel()
            await asyncio.gather(self._joining, return_exceptions=True)
        self._stop_listening()
        if self._wire is not None:
            # No flush: whoever is at the other end has been asked to end already.
            self._wire.abort()
            if self._remote is not None:
                await asyncio.wait((self._remote.closed,), timeout=1)

    def _tls_session(self) -> TlsSession | None:
        certificate = self._handshake.certificate
        if self._identity is None or certificate is None:
            return None
        context = make_context(self._identity, peer=certificate, server_side=False)
        return TlsSession(context, peer=certificate, server_side=False)

    async def _attach(self, sock: socket.socket, remote: RemoteEnd) -> None:
        loop = asyncio.get_running_loop()
        make: Any = loop.create_unix_connection if sock.family == socket.AF_UNIX else loop.create_connection
        if not self._multiplex:
            self._wire, _ = await make(lambda: remote, sock=sock)
            return
        from injector.wire import yamux  # late: start-up
        from injector.wire.multiplex import Multiplexer

        multiplexer = Multiplexer(yamux.Session(is_client=True, most_streams=0))
        self._wire, _ = await make(lambda: multiplexer, sock=sock)
        multiplexer.open(remote)

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.settimeout(0)
        # A path below a directory of ours; whoever else comes, of a group that may enter it, is sent away in `_join`.
        listener.bind(str(self._path))
        listener.listen(1)
        return listener

    async def _join(self, listener: socket.socket, remote: RemoteEnd) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                accepted, _ = await loop.sock_accept(listener)
                credentials = peer_credentials(accepted)
                if credentials is None or credentials[0] == os.getpid():
                    break
                accepted.close()
        finally:
            self._stop_listening()
        await loop.connect_accepted_socket(lambda: LocalEnd(remote), accepted)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            with contextlib.suppress(OSError):
                self._path.unlink()


async def probe(handshake: Handshake) -> None:
    """Raises NotListening when nobody listens there."""
    (await _connect(handshake)).close()


async def _connect(handshake: Handshake) -> socket.socket:
    loop = asyncio.get_running_loop()
    address: Any = handshake.address
    family = socket.AF_UNIX
    if handshake.network == "tcp":
        host, _, port = handshake.address.rpartition(":")
        address = (host.removeprefix("[").removesuffix("]"), int(port))
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    # The protocol is named, or asyncio does not switch Nagle's algorithm off.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP if handshake.network == "tcp" else 0)
    try:
        sock.settimeout(0)
        await loop.sock_connect(sock, address)
    except OSError:
        sock.close()
        raise NotListening from None
    except BaseException:
        sock.close()
        raise
    return sock


def direct_target(handshake: Handshake) -> str:
    """The plugin's own address as gRPC writes it."""
    from urllib.parse import quote  # late: start-up

    if handshake.network == "unix":
        return _unix_target(handshake.address)
    family = "ipv6" if handshake.address.startswith("[") else "ipv4"
    return f"{family}:{quote(handshake.address, safe=':[]')}"


def _unix_target(path: str) -> str:
    from urllib.parse import quote  # late: start-up

    return "unix:" + quote(path)  # gRPC decodes percent signs in it
