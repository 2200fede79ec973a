"""The ASGI application: the page's files, `/api`, and the guard before both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from injector.web.answers import error_document, error_response
from injector.web.guards import Guard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

    from injector.web.api import Api
    from injector.web.page_files import PageFile

_CODES = {404: ("path-unknown", "there is no such page"), 405: ("method-unknown", "this page takes no such method")}


def application(api: Api, page: Mapping[str, PageFile]) -> Guard:
    """The application of *api* and the files *page*; it answers when the `hosts` of its guard are set."""
    files = [Route(path, _serve(file), methods=["GET"]) for path, file in page.items()]
    app = Starlette(routes=[*files, *api.routes()], exception_handlers={HTTPException: _http_error})
    app.router.redirect_slashes = False  # a path is right or wrong
    return Guard(app)


def _serve(file: PageFile) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return Response(file.content, media_type=file.media_type)

    return answer


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, message = _CODES.get(error.status_code, ("http-error", "the request cannot be answered"))
    return error_response(error.status_code, error_document(code, message), error.headers)
