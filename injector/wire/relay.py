"""
Carries one connection between gRPC, on a private local socket, and the peer, through TLS where it is asked for.

`RemoteEnd` is the protocol of the peer's side (a socket, or a yamux stream), `LocalEnd` that of gRPC's side. Each
stops reading when the other cannot write, and an end of one direction becomes an end of that direction on the other
side. gRPC is joined only after the TLS handshake: it never sees a byte of a peer that is not the right one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from injector.wire.tls import PeerWentAway, TlsFailed

if TYPE_CHECKING:
    from injector.wire.tls import TlsSession


class RemoteEnd(asyncio.Protocol):
    """
    The peer's side.

    Args:
        tls: the TLS of this connection, or None for plain text.
    """

    def __init__(self, tls: TlsSession | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._tls = tls
        self._transport: asyncio.Transport | None = None
        self._local: LocalEnd | None = None
        self._early: list[bytes] = []
        self._has_ended = False
        self._has_written_end = False
        self.opened: asyncio.Future[None] = loop.create_future()
        """Done when gRPC may be joined; has TlsFailed or OSError as exception when it never may."""
        self.closed: asyncio.Future[None] = loop.create_future()
        """Done when the connection is gone."""
        self.failure: TlsFailed | None = None
        """Why TLS ended the connection, if it did."""

    @property
    def transport(self) -> asyncio.Transport:
        """Whatever carries this end."""
        assert self._transport is not None
        return self._transport

    def join(self, local: LocalEnd) -> None:
        """From now on plain text goes to *local*, which calls this when it is connected."""
        self._local = local
        early, self._early = self._early, []
        for data in early:
            local.write(data)
        if self._has_ended:
            local.write_end()
        if self.closed.done():
            local.close()
        else:
            self.transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._tls is None:
            self._set_opened()
        else:
            try:
                self._tls.begin()
            except TlsFailed as error:
                self._fail(error)
            self._flush()

    def data_received(self, data: bytes) -> None:
        if self._tls is None:
            self._pass_on(data)
            return
        if self.failure is not None:
            return
        try:
            plain = self._tls.receive(data)
        except TlsFailed as error:
            self._fail(error)
            return
        self._flush()
        if self._tls.is_open and not self.opened.done():
            self._set_opened()
        if plain:
            self._pass_on(plain)
        if self._tls.has_ended:
            self._pass_end()

    def eof_received(self) -> bool:
        if self._tls is not None and self.failure is None:
            try:
                self._tls.receive_end()
            except PeerWentAway as error:
                self._fail(error)
                return False
        self._pass_end()
        return self._local is not None  # keep the other direction

    def pause_writing(self) -> None:
        if self._local is not None:
            self._local.pause()

    def resume_writing(self) -> None:
        if self._local is not None:
            self._local.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # the failure of TLS is known already, the socket's says nothing more
        if not self.opened.done():
            reset = PeerWentAway("closed the connection before it was open")
            self.opened.set_exception(self.failure or reset)
            self.opened.exception()  # looked at: not everybody waits for it
        if not self.closed.done():
            self.closed.set_result(None)
        if self._local is not None:
            self._local.close()

    def write(self, data: bytes) -> None:
        """Sends plain text to the peer."""
        if self.transport.is_closing() or self._has_written_end:
            return
        if self._tls is None:
            self.transport.write(data)
            return
        try:
            self._tls.send(data)
        except TlsFailed as error:
            self._fail(error)
        self._flush()

    def write_end(self) -> None:
        """Tells the peer that nothing more follows."""
        if self.transport.is_closing() or self._has_written_end:
            return
        if self._tls is not None:
            self._tls.send_end()
            self._flush()
        self._has_written_end = True
        if self._has_ended or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.transport.write_eof()

    def close(self) -> None:
        """Closes when all that was written has gone."""
        if self._transport is not None:
            self._transport.close()

    def pause(self) -> None:
        """Reads nothing for a while."""
        self.transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        self.transport.resume_reading()

    def _set_opened(self) -> None:
        self.transport.pause_reading()  # until somebody is there for it
        if not self.opened.done():
            self.opened.set_result(None)

    def _pass_on(self, plain: bytes) -> None:
        if self._local is None:
            self._early.append(plain)
        else:
            self._local.write(plain)

    def _pass_end(self) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        if self._local is not None:
            self._local.write_end()

    def _fail(self, error: TlsFailed) -> None:
        self.failure = error
        self._flush()  # the alert that says why
        self.transport.close()

    def _flush(self) -> None:
        assert self._tls is not None
        data = self._tls.take()
        if data and not self.transport.is_closing() and not self._has_written_end:
            self.transport.write(data)


class LocalEnd(asyncio.Protocol):
    """gRPC's side of *remote*."""

    def __init__(self, remote: RemoteEnd) -> None:
        self._remote = remote
        self._transport: asyncio.Transport | None = None
        self._has_ended = False
        self._has_written_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._remote.join(self)

    def data_received(self, data: bytes) -> None:
        self._remote.write(data)

    def eof_received(self) -> bool:
        self._has_ended = True
        self._remote.write_end()
        return not self._has_written_end

    def pause_writing(self) -> None:
        self._remote.pause()

    def resume_writing(self) -> None:
        self._remote.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # the failure of TLS is known already, the socket's says nothing more
        self._remote.close()

    def write(self, data: bytes) -> None:
        """Sends plain text to gRPC."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def write_end(self) -> None:
        """Tells gRPC that the peer sends nothing more."""
        self._has_written_end = True
        if self.transport.is_closing():
            return
        if self._has_ended:
            self.transport.close()
        else:
            self.transport.write_eof()

    def close(self) -> None:
        """Closes when all that was written has gone."""
        self.transport.close()

    def pause(self) -> None:
        """Reads nothing for a while."""
        self.transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        self.transport.resume_reading()

    @property
    def transport(self) -> asyncio.Transport:
        """The socket to gRPC."""
        assert self._transport is not None
        return self._transport
