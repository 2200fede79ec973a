"""The control socket: status, refresh and quit for who may read its token."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import secrets
from typing import TYPE_CHECKING, Any, Final

from injector.app.serving import documents
from injector.app.serving.asking import Unanswered, on_loop
from injector.app.serving.http import HttpServer, Request, Response, text
from injector.app.serving.listeners import listen_unix
from injector.errors import InjectorError, ListenFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from injector.app.status import SidecarStatus

_WITHIN: Final = 5.0  # seconds that the program's loop has for a snapshot
_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "injector"})
_METHODS: Final = {"/status": "GET", "/refresh": "POST", "/quitquitquit": "POST"}


def token_path(control: Path) -> Path:
    """Where the token of the control socket *control* is."""
    return control.with_name(control.name + ".token")


class ControlServer:
    """
    Serves on a unix socket that its owner alone may open, and wants the bearer token of the file beside it.

    Args:
        control: the socket's path; `<control>.token` (mode 0600) gets a new token at each start.
        status: gives a snapshot, called in the loop that `start` was called in.
        refresh: makes one pass and gives its summary, plain JSON without a value; runs in that loop, and goes on when
            the client leaves. An InjectorError that it raises is answered with 502 and its code.
        quit: asks the program to end; called in that loop.
        clean: takes known secrets out of error messages; give `log.redactor.clean`.
    """

    def __init__(
        self,
        control: Path,
        *,
        status: Callable[[], SidecarStatus],
        refresh: Callable[[], Awaitable[Mapping[str, Any]]],
        quit: Callable[[], None],  # noqa: A002  # the name of what it does
        clean: Callable[[str], str],
    ) -> None:
        self._control = control
        self._status = status
        self._refresh = refresh
        self._quit = quit
        self._clean = clean
        self._token = secrets.token_urlsafe(32)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: HttpServer | None = None
        self._inode: tuple[int, int] | None = None
        self._passes: set[Future[Any]] = set()

    def start(self) -> Path:
        """
        Begins to serve; call it in the program's event loop. Gives the socket's path.

        Raises ListenFailed: another program answers there, or the directory cannot be written to.
        """
        self._loop = asyncio.get_running_loop()
        listener = listen_unix(self._control)
        try:
            self._write_token()
            found = self._control.stat()
        except OSError as error:
            listener.close()
            self._control.unlink(missing_ok=True)
            reason = os.strerror(error.errno or 0).lower()
            raise ListenFailed(f"cannot write the token of the control socket {self._control}: {reason}") from None
        self._inode = (found.st_dev, found.st_ino)
        self._server = HttpServer("injector-control", [listener], self._handle)
        self._server.start()
        return self._control

    def close(self) -> None:
        """Ends serving, and removes the socket and its token; safe to call twice, and when `start` failed."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        with contextlib.suppress(OSError):
            found = self._control.lstat()
            if (found.st_dev, found.st_ino) == self._inode:
                self._control.unlink()
                token_path(self._control).unlink()

    def _write_token(self) -> None:
        path = token_path(self._control)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(self._token + "\n")

    async def _handle(self, request: Request) -> Response:
        # A browser that a page has lured here sends that page's host (DNS rebinding).
        host = request.headers.get("host", "")
        if host.rpartition(":")[0] not in _HOSTS and host not in _HOSTS:
            return text(421, "the Host header names another server")
        method = _METHODS.get(request.path)
        if method is None:
            return text(404, "no such page; there are " + ", ".join(_METHODS))
        if not self._knows_token(request):
            return text(401, f"the token is in {token_path(self._control).name}", WWW_Authenticate="Bearer")
        if request.method != method:
            return text(405, f"{method} only", Allow=method)
        try:
            return await self._answer(request)
        except Unanswered:
            return text(503, "the event loop does not turn")

    def _knows_token(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given, known = token.strip().encode("latin-1", "replace"), self._token.encode()
        return scheme.lower() == "bearer" and hmac.compare_digest(given, known)

    async def _answer(self, request: Request) -> Response:
        if request.path == "/status":
            status = await on_loop(self._loop, self._status, within=_WITHIN)
            return Response(200, documents.status_json(status, self._clean), "application/json")
        if request.path == "/quitquitquit":
            await on_loop(self._loop, self._quit, within=_WITHIN)
            return _json(200, {"quitting": True})
        return await self._answer_refresh(wait=request.query.get("wait", "true").lower() not in ("false", "0", "no"))

    async def _answer_refresh(self, *, wait: bool) -> Response:
        assert self._loop is not None

        async def one_pass() -> Mapping[str, Any]:
            return await self._refresh()

        question = one_pass()
        try:
            running = asyncio.run_coroutine_threadsafe(question, self._loop)
        except RuntimeError:  # the loop is closed
            question.close()
            raise Unanswered from None
        self._passes.add(running)
        running.add_done_callback(self._passes.discard)
        if not wait:
            return _json(202, {"refreshing": True})
        try:
            # The client's leaving ends the wait, not the pass.
            summary = await asyncio.shield(asyncio.wrap_future(running))
        except InjectorError as error:
            return _json(502, {"code": error.code, "error": self._clean(error.message)})
        return _json(200, dict(summary))


def _json(status: int, document: dict[str, Any]) -> Response:
    body = json.dumps({"schemaVersion": 1, **document}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    return Response(status, body, "application/json")
