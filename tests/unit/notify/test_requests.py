"""HTTP requests: to real servers, that answer as servers do."""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import threading
import time
from pathlib import Path
from typing import Self

import pytest

from injector.errors import NotifyDenied, NotifyFailed, NotifyTimeout
from injector.notify.requests import request, shown
from injector.settings.actions import HttpAction


class Server:
    """Answers each request with the next status, the last one for ever."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None, path: Path | None = None) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        left = list(statuses)
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                server.requests.append((self.command, self.path, dict(self.headers)))
                self.send_response(left.pop(0) if len(left) > 1 else left[0])
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(b"x" * 100_000)

            do_GET = do_POST = answer  # noqa: N815  # http.server calls them so

            def address_string(self) -> str:
                return ""

            def log_message(self, *_: object) -> None:
                pass

        if path is None:
            self._server: socketserver.BaseServer = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        else:
            self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


async def test_a_server_that_is_down_for_a_moment_is_asked_again(running) -> None:
    with Server(500, 500, 204) as server:
        run = running(HttpAction(url=server.url + "/-/reload", headers=(("X-Reload", "1"),)))
        run.notifier.changed("a", "/out/a", "1")
        await run.until_told()
    assert [(method, path) for method, path, _ in server.requests] == [("POST", "/-/reload")] * 3
    assert server.requests[0][2]["X-Reload"] == "1"
    assert server.requests[0][2]["Content-Length"] == "0"
    assert run.meter.counts == {("http", "failed"): 2, ("http", "ok"): 1}


async def test_only_the_expected_statuses_are_a_success() -> None:
    with Server(200, 418, 418) as server:
        with pytest.raises(NotifyFailed, match="answered with status 200"):
            await request(HttpAction(url=server.url, expect=(204, 418)))
        await request(HttpAction(url=server.url, expect=(204, 418), method="GET"))
    assert server.requests[1][0] == "GET"


async def test_a_redirect_is_not_followed() -> None:
    with Server(302, headers={"Location": "/elsewhere"}) as server, pytest.raises(NotifyFailed) as caught:
        await request(HttpAction(url=server.url))
    assert caught.value.message.endswith("answered with status 302")
    assert len(server.requests) == 1
    assert "redirects are not followed" in str(caught.value.hint)


async def test_a_server_that_asks_for_time_gets_it() -> None:
    with Server(503, headers={"Retry-After": "17"}) as server, pytest.raises(NotifyFailed) as caught:
        await request(HttpAction(url=server.url))
    assert caught.value.retry_after == 17


async def test_user_and_password_are_sent_and_never_shown() -> None:
    with Server(401) as server:
        url = server.url.replace("http://", "http://user:hunter%322@") + "/r?token=hunter2"
        with pytest.raises(NotifyDenied) as caught:
            await request(HttpAction(url=url))
    assert server.requests[0][1] == "/r?token=hunter2"
    assert server.requests[0][2]["Authorization"] == "Basic dXNlcjpodW50ZXIyMg=="
    assert "hunter" not in caught.value.message
    assert "user" not in caught.value.message
    assert "hunter" not in repr(HttpAction(url=url, headers=(("X", "hunter2"),)))
    assert shown("https://u:p@h:1/a?b#c") == "https://h:1/a"


async def test_a_server_that_does_not_answer_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        action = HttpAction(url=f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=0.3)
        with pytest.raises(NotifyTimeout, match=r"did not answer within 0\.3 s"):
            await request(action)


async def test_a_server_that_drips_is_left_and_its_thread_ends() -> None:
    stop = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while not stop.wait(0.1):
                try:
                    connection.sendall(b"H")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=drip, args=(listener,), daemon=True)
        server.start()
        before = threading.active_count()
        with pytest.raises(NotifyTimeout):
            await request(HttpAction(url=f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=1.0))
        deadline = time.monotonic() + 60
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert threading.active_count() <= before
        stop.set()
        server.join(60)


async def test_a_unix_socket_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Server(204, path=path) as server:
        await request(HttpAction(url=f"unix:{path}:/reload?x=1"))
    assert server.requests[0][:2] == ("POST", "/reload?x=1")
    path.unlink()
    with pytest.raises(NotifyFailed, match="no such file or directory"):
        await request(HttpAction(url=f"unix:{path}:/reload"))


async def test_no_proxy_is_asked_for_what_is_on_this_machine(monkeypatch) -> None:
    with Server(502) as proxy, Server(204) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        await request(HttpAction(url=server.url))
        await request(HttpAction(url=server.url.replace("127.0.0.1", "localhost")))
        assert proxy.requests == []
        with pytest.raises(NotifyFailed, match="status 502"):
            await request(HttpAction(url="http://app.invalid/reload"))
        assert proxy.requests[0][1] == "http://app.invalid/reload"


async def test_nobody_there_is_told_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotifyFailed, match="connection refused"):
        await request(HttpAction(url=f"http://127.0.0.1:{port}/"))


async def test_an_answer_that_is_no_http_is_told_without_its_text() -> None:
    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"hunter2 is the password\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        with pytest.raises(NotifyFailed, match="no proper HTTP answer") as caught:
            await request(HttpAction(url=f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        thread.join(60)
    assert "hunter2" not in str(caught.value)


async def test_a_ca_file_that_is_none_is_told(tmp_path: Path) -> None:
    for content in (None, "no PEM"):
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_text(content)
        with pytest.raises(NotifyFailed, match="holds no certificates, or cannot be read"):
            await request(HttpAction(url="https://127.0.0.1:1/", ca_file=path))
