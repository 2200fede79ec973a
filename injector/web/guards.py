"""
Who is answered at all: requests of our own page, and of programs that are no browser and know a secret.

A browser sends what other pages make it send. Their requests name another host (DNS rebinding), another origin, or say
by `Sec-Fetch-Site` where they come from. Nothing of this is asked of a program, which needs the token as everybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from injector.web.answers import Refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_NAMES = ("127.0.0.1", "localhost", "[::1]")
_READING = frozenset({"GET", "HEAD"})
_OUR_SITE = frozenset({"same-origin", "none"})


def own_hosts(port: int) -> frozenset[str]:
    """What `Host` may be for a server on *port*; browsers leave 80 away."""
    return frozenset(f"{name}:{port}" for name in _NAMES) | (frozenset(_NAMES) if port == 80 else frozenset())


class Guard:
    """ASGI: lets requests through to *app* that may be ours. `hosts` are set when the port is known."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.hosts: frozenset[str] = frozenset()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refusal is not None:
            await refusal.response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, method: str, path: str, headers: Headers) -> Refused | None:
        host = headers.get("host", "").lower()
        if host not in self.hosts or len(headers.getlist("host")) != 1:
            return Refused(
                421,
                "host-unknown",
                "the Host header names another server",
                hint="use the address that injector ui has printed, with the same port when it is forwarded",
            )
        if headers.get("sec-fetch-site", "none") not in _OUR_SITE and not _opens_page(method, path, headers):
            return Refused(403, "cross-site", "the request comes from another page")
        origin = headers.get("origin")
        if origin is None and method in _READING:
            return None
        if origin != f"http://{host}" or len(headers.getlist("origin")) != 1:
            return Refused(403, "origin-unknown", "the Origin header does not name this page")
        return None


def _opens_page(method: str, path: str, headers: Headers) -> bool:
    """
    Whether a link is followed to the page itself: from a terminal in a browser, or the file that opens it. The page
    holds nothing, and the cookie does not come with it (SameSite=Strict).
    """
    goes_there = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return goes_there and method == "GET" and path == "/"
