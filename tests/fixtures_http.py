"""HTTP servers on this machine whose every byte a test decides."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\nhi"


def redirect(to: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Go\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


def _is_short(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    return not end or (length is not None and len(body) < int(length[1]))


class Server:
    """Hands each connection's request, as bytes, to a function that answers it."""

    def __init__(self, answer: Callable[[socket.socket, bytes], None], context: ssl.SSLContext | None = None) -> None:
        self.heads: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self._answer, self._context = answer, context
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._take, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _take(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(30)
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                head = b""
                while _is_short(head) and (piece := connection.recv(65536)):
                    head += piece
                self.heads.append(head)
                self._answer(connection, head)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(answer: Callable[[socket.socket, bytes], None] | bytes, context: ssl.SSLContext | None = None) -> Server:
        content = answer
        function = (lambda connection, head: connection.sendall(content)) if isinstance(content, bytes) else content
        servers.append(Server(function, context))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
