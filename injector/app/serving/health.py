"""Probes, metrics and status over HTTP: `/livez`, `/readyz`, `/startupz`, `/healthz`, `/metrics`, `/status`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from injector.app.serving import documents
from injector.app.serving.asking import Unanswered, on_loop
from injector.app.serving.heartbeat import LoopHeartbeat
from injector.app.serving.http import PATIENCE, HttpServer, Request, Response, text
from injector.app.serving.listeners import listen_tcp

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.app.status import SidecarStatus
    from injector.telemetry.metrics import PrometheusMeter
    from injector.telemetry.vitals import Vitals

_READ_ONLY: Final = frozenset({"GET", "HEAD"})
_STATUS_WITHIN: Final = 2.0  # seconds that the program's loop has for a snapshot


def _as_it_is(message: str) -> str:
    return message


class StatusServer:
    """
    Serves on TCP; everybody may read, and no secret is in it.

    Args:
        listen: `host:port`, `[::1]:port` or `:port`; port 0 takes a free one.
        status: gives a snapshot. It is called in the event loop that `start` was called in; when that does not answer
            in 2 s, what needs a snapshot is answered with 503. Without such a loop it is called in the server's thread.
        vitals: who has to complete what. The server adds a worker of its own, the event loop.
        meter: what `/metrics` shows; None serves none.
        clean: takes known secrets out of error messages; give `log.redactor.clean`.
        loop_within: seconds in which the event loop has to turn, or `/livez` fails.
    """

    def __init__(
        self,
        listen: str,
        *,
        status: Callable[[], SidecarStatus],
        vitals: Vitals,
        meter: PrometheusMeter | None = None,
        clean: Callable[[str], str] = _as_it_is,
        loop_within: float = 15.0,
        patience: float = PATIENCE,
    ) -> None:
        self._listen = listen
        self._status = status
        self._vitals = vitals
        self._meter = meter
        self._clean = clean
        self._loop_within = loop_within
        self._patience = patience
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heartbeat: LoopHeartbeat | None = None
        self._server: HttpServer | None = None
        self._answers = {
            "/livez": self._livez,
            "/healthz": self._livez,
            "/readyz": self._readyz,
            "/startupz": self._startupz,
            "/metrics": self._metrics,
            "/status": self._status_document,
        }

    def start(self) -> str:
        """
        Begins to serve, and gives the address as `host:port`. Does not block on the network.

        Raises ListenFailed: the port is in use, not permitted, or the host is not here.
        """
        listeners = listen_tcp(self._listen)
        host, port = listeners[0].getsockname()[:2]
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        else:
            self._heartbeat = LoopHeartbeat(self._vitals, within=self._loop_within)
            self._heartbeat.start()
        self._server = HttpServer("injector-status", listeners, self._handle, patience=self._patience)
        self._server.start()
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def close(self) -> None:
        """Ends serving; safe to call twice, and when `start` failed."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._server is not None:
            self._server.close()

    async def _handle(self, request: Request) -> Response:
        answer = self._answers.get(request.path)
        if answer is None:
            return text(404, "no such page; there are " + ", ".join(self._answers))
        if request.method not in _READ_ONLY:
            return text(405, "read only", Allow="GET, HEAD")
        try:
            return await answer(request)
        except Unanswered:
            return text(503, "the event loop does not turn")

    async def _snapshot(self) -> SidecarStatus:
        return await on_loop(self._loop, self._status, within=_STATUS_WITHIN)

    async def _livez(self, request: Request) -> Response:
        return _probe(documents.late_workers(self._vitals), request, documents.workers(self._vitals))

    async def _readyz(self, request: Request) -> Response:
        status = await self._snapshot()
        return _probe(documents.unready(status, self._clean), request, documents.readiness(status, self._clean))

    async def _startupz(self, request: Request) -> Response:
        status = await self._snapshot()
        missing = [] if status.started else documents.unstarted(status, self._clean)
        return _probe(missing, request, missing or ["[+]started"])

    async def _metrics(self, request: Request) -> Response:
        if self._meter is None:
            return text(404, "metrics are off")
        try:
            status = await self._snapshot()
        except Unanswered:  # what is counted is worth having above all when something hangs
            status = None
        snapshot = documents.metrics(status, self._vitals)
        body, content_type = self._meter.exposition(snapshot, accept=request.headers.get("accept", ""))
        return Response(200, body, content_type)

    async def _status_document(self, _: Request) -> Response:
        return Response(200, documents.status_json(await self._snapshot(), self._clean), "application/json")


def _probe(problems: list[str], request: Request, details: list[str]) -> Response:
    lines = details if "verbose" in request.query else problems
    return text(503 if problems else 200, "\n".join([*lines, "failed" if problems else "ok"]))
