"""The addresses of the webhook: reviews in, health and metrics out."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from injector.errors import ReviewInvalid
from injector.telemetry.logs import Level
from injector.webhook.review import LARGEST, Reply, reply_to_invalid, respond

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.telemetry.admission_metrics import AdmissionMetrics
    from injector.telemetry.logs import Log
    from injector.webhook.defaults import Defaults

BODY_TIME: Final = 5.0
_MOST_READ: Final = 32 * 1024 * 1024  # of a body that is too large: who still sends does not read why
_CUT_OFF: Final = frozenset({408, 413})
_JSON: Final = "application/json"
_WORTH_A_LINE: Final = frozenset({"refused", "unsupported"})  # an injection costs less than its line would


def application(defaults: Defaults, metrics: AdmissionMetrics, log: Log, *, is_ready: Callable[[], bool]) -> Starlette:
    """The ASGI application. *is_ready* says whether reviews can be expected to reach it."""

    async def mutate(request: Request) -> Response:
        try:
            body = await _body(request)
        except ReviewInvalid as error:
            started, reply = time.perf_counter(), reply_to_invalid(error)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        else:
            started, reply = time.perf_counter(), respond(body, defaults)
        seconds = time.perf_counter() - started
        metrics.reviewed(reply.result, reply.namespace, seconds, len(reply.warnings))
        _tell(log, reply, seconds)
        headers = {"Allow": "POST"} if reply.status == 405 else {}
        if reply.status in _CUT_OFF:  # else what still comes of the body would be read and thrown away for ever
            headers["Connection"] = "close"
        return Response(reply.body, reply.status, headers, media_type=_JSON)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        if is_ready():
            return PlainTextResponse("ok\n")
        return PlainTextResponse("failed\nthere is no valid certificate\n", 503)

    async def exposition(request: Request) -> Response:
        content, media_type = metrics.exposition(request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": media_type})

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]  # each gets a review as answer
    return Starlette(
        routes=[
            Route("/mutate", mutate, methods=methods),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", exposition),
        ]
    )


async def _body(request: Request) -> bytes:
    """The body of a review. Raises ReviewInvalid with the HTTP status that fits."""
    if request.method != "POST":
        raise ReviewInvalid("reviews are sent by POST", status=405)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise ReviewInvalid(f"expected the content type {_JSON}", status=415)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise ReviewInvalid("expected a body without content encoding", status=415)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIME):
            async for part in request.stream():
                size += len(part)
                if size <= LARGEST:
                    parts.append(part)
                elif size > _MOST_READ:
                    break
    except TimeoutError:
        raise ReviewInvalid(f"the body did not come within {BODY_TIME:g} s", status=408) from None
    if size > LARGEST:
        raise ReviewInvalid(f"the body is larger than {LARGEST} bytes", status=413)
    return b"".join(parts)


def _tell(log: Log, reply: Reply, seconds: float) -> None:
    level = Level.INFO if reply.result in _WORTH_A_LINE or reply.warnings else Level.DEBUG
    level = Level.WARNING if reply.result == "invalid" else level
    if not log.is_enabled(level):
        return
    facts: dict[str, object] = {
        "result": reply.result,
        "uid": reply.uid,
        "namespace": reply.namespace,
        "milliseconds": round(seconds * 1000, 3),
    }
    if reply.reason:
        facts["reason"] = reply.reason
    if reply.warnings:
        facts["warnings"] = len(reply.warnings)
    log.write(level, "review", **facts)
