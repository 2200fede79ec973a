"""The relay and the multiplexer over real sockets: what is carried, who waits for whom, and how it ends."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
from waiting import PATIENCE

from injector.wire import yamux
from injector.wire.certificates import self_signed
from injector.wire.multiplex import Multiplexer
from injector.wire.relay import LocalEnd, RemoteEnd
from injector.wire.tls import PeerWentAway, TlsFailed, TlsSession, make_context

HOST, PLUGIN, STRANGER = (self_signed() for _ in range(3))


def tls(*, server_side: bool) -> TlsSession:
    own, peer = (PLUGIN, HOST) if server_side else (HOST, PLUGIN)
    context = make_context(own, peer=peer.certificate, server_side=server_side)
    return TlsSession(context, peer=peer.certificate, server_side=server_side)


class Wiring:
    """client application - relay - wire - relay - server application, all of them sockets but the relays."""

    def __init__(self, client: socket.socket, server: socket.socket, ends: list[RemoteEnd]) -> None:
        self.client = client
        self.server = server
        self.ends = ends


async def local(end: RemoteEnd) -> socket.socket:
    """Joins *end*; the application's socket."""
    await end.opened
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    await asyncio.get_running_loop().create_unix_connection(lambda: LocalEnd(end), sock=theirs)
    return ours


WIRES: list[asyncio.BaseTransport] = []


@pytest.fixture(autouse=True)
async def _no_wire_is_left():
    yield
    while WIRES:
        WIRES.pop().close()
    await asyncio.sleep(0.01)


async def attach(sock: socket.socket, protocol: asyncio.Protocol) -> None:
    transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: protocol, sock=sock)
    WIRES.append(transport)


@pytest.fixture(params=["plain", "tls", "multiplexed", "both"])
async def wiring(request):
    secured, multiplexed = request.param in {"tls", "both"}, request.param in {"multiplexed", "both"}
    one, two = socket.socketpair()
    near = RemoteEnd(tls(server_side=False) if secured else None)
    far: asyncio.Future[RemoteEnd] = asyncio.get_running_loop().create_future()

    def accept() -> RemoteEnd:
        far.set_result(RemoteEnd(tls(server_side=True) if secured else None))
        return far.result()

    if multiplexed:
        host = Multiplexer(yamux.Session(is_client=True, most_streams=0))
        plugin = Multiplexer(yamux.Session(is_client=False), accept)
        await attach(two, plugin)
        await attach(one, host)
        host.open(near)
    else:
        await attach(two, accept())
        await attach(one, near)
    other = await asyncio.wait_for(far, PATIENCE)
    client, server = await asyncio.gather(local(near), local(other))
    yield Wiring(client, server, [near, other])
    client.close()
    server.close()
    for end in (near, other):
        await asyncio.wait_for(end.closed, PATIENCE)


async def read_exactly(sock: socket.socket, count: int) -> bytes:
    loop, parts = asyncio.get_running_loop(), []
    while count:
        data = await loop.sock_recv(sock, min(count, 1 << 18))
        assert data, "it ended too early"
        parts.append(data)
        count -= len(data)
    return b"".join(parts)


async def test_megabytes_go_both_ways_at_once_and_arrive_whole(wiring) -> None:
    loop, message, answer = asyncio.get_running_loop(), os.urandom(5_000_000), os.urandom(5_000_000)
    _, _, one, two = await asyncio.wait_for(
        asyncio.gather(
            loop.sock_sendall(wiring.client, message),
            loop.sock_sendall(wiring.server, answer),
            read_exactly(wiring.server, len(message)),
            read_exactly(wiring.client, len(answer)),
        ),
        PATIENCE,
    )
    assert one == message
    assert two == answer


async def test_a_writer_waits_for_a_reader_who_does_not_read(wiring) -> None:
    loop = asyncio.get_running_loop()
    sent = 0

    async def pour() -> None:
        nonlocal sent
        while sent < 50_000_000:
            await loop.sock_sendall(wiring.client, bytes(100_000))
            sent += 100_000

    task = asyncio.ensure_future(pour())
    before = -1
    while before != sent:  # until it stands still
        before = sent
        await asyncio.sleep(0.3)
    assert sent < 10_000_000, "it is buffered somewhere"
    assert not task.done()
    read = 0
    while read < 50_000_000:
        read += len(await loop.sock_recv(wiring.server, 1 << 20))
    await task


async def test_the_end_of_one_direction_leaves_the_other(wiring) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(wiring.client, b"question")
    wiring.client.shutdown(socket.SHUT_WR)
    assert await read_exactly(wiring.server, 8) == b"question"
    assert await loop.sock_recv(wiring.server, 1) == b""
    await loop.sock_sendall(wiring.server, b"answer")
    assert await read_exactly(wiring.client, 6) == b"answer"


async def test_what_was_written_before_a_close_arrives(wiring) -> None:
    loop = asyncio.get_running_loop()
    message = os.urandom(3_000_000)
    reading = asyncio.ensure_future(read_exactly(wiring.server, len(message)))
    await loop.sock_sendall(wiring.client, message)
    wiring.client.close()
    assert await asyncio.wait_for(reading, PATIENCE) == message
    assert await loop.sock_recv(wiring.server, 1) == b""


async def test_a_peer_that_is_another_is_never_joined() -> None:
    one, two = socket.socketpair()
    context = make_context(STRANGER, peer=HOST.certificate, server_side=True)
    impostor = RemoteEnd(TlsSession(context, peer=HOST.certificate, server_side=True))
    end = RemoteEnd(tls(server_side=False))
    await attach(two, impostor)
    await attach(one, end)
    with pytest.raises(TlsFailed, match="another certificate"):
        await asyncio.wait_for(end.opened, PATIENCE)
    with pytest.raises(TlsFailed, match="refused our certificate"):
        await asyncio.wait_for(impostor.opened, PATIENCE)
    await asyncio.gather(end.closed, impostor.closed)


async def test_a_peer_that_goes_away_during_the_handshake_is_told_apart() -> None:
    one, two = socket.socketpair()
    end = RemoteEnd(tls(server_side=False))
    await attach(one, end)
    two.shutdown(socket.SHUT_WR)
    with pytest.raises(PeerWentAway):
        await asyncio.wait_for(end.opened, PATIENCE)
    two.close()
    await end.closed


async def test_a_peer_against_yamux_loses_its_connection_and_is_told_why() -> None:
    one, two = socket.socketpair()
    ends: list[RemoteEnd] = []

    def accept() -> RemoteEnd:
        ends.append(RemoteEnd())
        return ends[-1]

    multiplexer = Multiplexer(yamux.Session(is_client=False), accept)
    await attach(one, multiplexer)
    two.settimeout(0)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(two, b"\0\1\0\1\0\0\0\1\0\0\0\0")
    assert await read_exactly(two, 12) == b"\0\1\0\2\0\0\0\1\0\0\0\0"
    application = await local(ends[0])
    await loop.sock_sendall(two, b"PRI * HTTP/2.0\r\n\r\n")
    assert await read_exactly(two, 12) == b"\0\3\0\0\0\0\0\0\0\0\0\1"
    assert await loop.sock_recv(two, 1) == b""
    assert await loop.sock_recv(application, 1) == b""
    assert "version 80" in str(multiplexer.failure)
    await ends[0].closed
    application.close()
    two.close()


async def test_a_stream_that_the_peer_resets_ends_alone() -> None:
    one, two = socket.socketpair()
    host = Multiplexer(yamux.Session(is_client=True, most_streams=0))
    accepted: list[RemoteEnd] = []

    def accept() -> RemoteEnd:
        accepted.append(RemoteEnd())
        return accepted[-1]

    plugin = Multiplexer(yamux.Session(is_client=False), accept)
    await attach(two, plugin)
    await attach(one, host)
    ends = [RemoteEnd() for _ in range(2)]
    streams = [host.open(end) for end in ends]
    near = [await local(end) for end in ends]
    while len(accepted) < 2:
        await asyncio.sleep(0.01)
    far = [await local(end) for end in accepted]
    loop = asyncio.get_running_loop()
    streams[0].abort()
    await asyncio.gather(ends[0].closed, accepted[0].closed)
    await loop.sock_sendall(near[1], b"alive")
    assert await read_exactly(far[1], 5) == b"alive"
    host.close()
    await asyncio.gather(ends[1].closed, accepted[1].closed)
    for sock in near + far:
        sock.close()
