"""What is sent: JSON, errors as JSON, and the headers of every answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from injector.errors import (
    ConnectionExists,
    ConnectionUnknown,
    InputError,
    InvalidConfiguration,
    InvalidReference,
    MissingError,
    RunFailed,
    SettingsError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from injector.errors import InjectorError

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer: the listener puts them on, also where nothing of ours was asked."""

_OF_THE_REQUEST: Final = (
    InputError,
    InvalidConfiguration,
    InvalidReference,
    MissingError,
    SettingsError,
    UsageError,
)


class Refused(Exception):
    """A request that is not answered as it was meant; *message* and *hint* are texts of ours."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The answer that says so."""
        return error_response(self.status, error_document(self.code, self.message, self.hint), self.headers)


def json_response(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """*document* as JSON. What is no Unicode (names of files may be anything) becomes question marks."""
    body = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status, dict(headers or {}), media_type="application/json")


def error_response(status: int, error: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """The answer for an error; *error* is one of `error_document`."""
    return json_response({"error": error}, status, headers)


def error_document(code: str, message: str, hint: str | None = None) -> dict[str, Any]:
    """An error as the page is told of it."""
    return {"code": code, "message": message, "hint": hint}


def told(error: InjectorError, clean: Callable[[str], str]) -> dict[str, Any]:
    """*error* for the page: of several the first, and how many there are. Texts pass *clean*."""
    single, more = error, 0
    while isinstance(single, RunFailed):
        more += len(single.errors) - 1
        single = single.errors[0]
    message = clean(single.message) + (f" (and {more} more)" if more else "")
    return error_document(single.code, message, clean(single.hint) if single.hint is not None else None)


def status_of(error: InjectorError) -> int:
    """The HTTP status for *error*: 422 what the request asked for cannot be, 502 what it needed did not do its part."""
    while isinstance(error, RunFailed):
        error = error.errors[0]
    if isinstance(error, ConnectionUnknown):
        return 404
    if isinstance(error, ConnectionExists):
        return 409
    return 422 if isinstance(error, _OF_THE_REQUEST) else 502
