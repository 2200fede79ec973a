"""The answers of `/api`, as docs/ui.md tells of them."""

from __future__ import annotations

import hmac
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

import injector
from injector.errors import InjectorError
from injector.model.secret import Secret
from injector.notify.threads import in_thread
from injector.process.hardening import frames
from injector.telemetry.redaction import Redactor
from injector.web import bodies
from injector.web.answers import Refused, error_document, error_response, json_response, status_of, told
from injector.web.session import MOST_ATTEMPTS
from injector.web.trials import Trials

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from injector.telemetry.logs import Log
    from injector.web.history import History
    from injector.web.looking import SidecarView
    from injector.web.session import OneTimeToken, Session, Sessions
    from injector.web.sources import ConnectionsSource

    Endpoint = Callable[[Request], Awaitable[Response]]

_READING: Final = frozenset({"GET", "HEAD"})


class Api:
    """The routes below `/api`. `cookie` is the name of the session's cookie, set when the port is known."""

    def __init__(
        self,
        token: OneTimeToken,
        sessions: Sessions,
        sidecar: SidecarView,
        history: History,
        connections: ConnectionsSource,
        log: Log,
    ) -> None:
        self.cookie = "injector_ui"
        self._token = token
        self._sessions = sessions
        self._sidecar = sidecar
        self._history = history
        self._connections = connections
        self._log = log
        self._trials = Trials()

    def routes(self) -> list[Route]:
        """
        All of them; each but signing in wants both halves of a session, also to read: browsers send the cookie to every
        port of this machine, where another user may listen, and the other half to us only.
        """
        signed_in = self._signed_in
        name = "/api/connections/{name}"
        return [
            self._route("/api/session", GET=signed_in(self._whoami), POST=self._sign_in, DELETE=signed_in(self._leave)),
            self._route("/api/sidecar", GET=signed_in(self._status)),
            self._route("/api/sidecar/refresh", POST=signed_in(self._refresh)),
            self._route("/api/history", GET=signed_in(self._past)),
            self._route("/api/prefixes", GET=signed_in(self._prefixes)),
            self._route("/api/connections", GET=signed_in(self._list), POST=signed_in(self._add)),
            self._route(name, GET=signed_in(self._show), DELETE=signed_in(self._remove)),
            self._route(f"{name}/test", POST=signed_in(self._test)),
        ]

    async def close(self) -> None:
        """Ends what was begun for a request and goes on without it."""
        await self._trials.close()

    def _route(self, path: str, **endpoints: Endpoint) -> Route:
        async def answer(request: Request) -> Response:
            endpoint = endpoints["GET" if request.method == "HEAD" else request.method]
            try:
                return await endpoint(request)
            except Refused as refused:
                return refused.response()
            except InjectorError as error:
                return error_response(status_of(error), told(error, self._log.redactor.clean))
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is there to read it
            except Exception as error:  # noqa: BLE001  # its text may hold a secret, and the server goes on
                where = " < ".join(frames(error.__traceback__))
                self._log.error("internal error", kind=type(error).__qualname__, where=where)
                return error_response(500, error_document("internal-error", "a fault of injector, please report it"))

        return Route(path, answer, methods=list(endpoints))

    def _signed_in(self, endpoint: Callable[[Request, Session], Awaitable[Response]]) -> Endpoint:
        async def answer(request: Request) -> Response:
            cookie = request.cookies.get(self.cookie)
            session = self._sessions.find(cookie)
            given = request.headers.get("x-csrf-token", "")
            proven = session is not None and hmac.compare_digest(given.encode(), session.csrf.encode())
            if session is None or (not proven and request.method in _READING):
                raise Refused(
                    401, "signed-out", "nobody is signed in", hint="open the address that injector ui prints on Enter"
                )
            if not proven:
                raise Refused(403, "csrf", "the X-CSRF-Token header is not the one of this session")
            self._sessions.used(cookie)
            return await endpoint(request, session)

        return answer

    async def _sign_in(self, request: Request) -> Response:
        given = await bodies.read(request, bodies.SignIn)
        if not self._token.redeem(given.token):
            self._tell_of_attempts()
            raise Refused(
                401,
                "token-refused",
                "the token is wrong, was used, or is too old",
                hint="open the address that injector ui prints on Enter",
            )
        self._sessions.end(request.cookies.get(self.cookie))
        cookie, session = self._sessions.begin()
        self._log.info("signed in")
        answer = json_response({"csrf": session.csrf})
        answer.set_cookie(self.cookie, cookie, path="/", httponly=True, samesite="strict")
        return answer

    def _tell_of_attempts(self) -> None:
        # Twice for each token, however many are tried: nobody shall fill this log.
        if self._token.attempts == 1:
            self._log.warning("a wrong token was refused")
        elif self._token.attempts == MOST_ATTEMPTS:
            self._log.warning("too many wrong tokens: the right one is of no use any more")

    async def _whoami(self, _: Request, session: Session) -> Response:
        return json_response(
            {
                "csrf": session.csrf,
                "version": injector.__version__,
                "control": self._sidecar.control,
                "store": self._connections.where,
            }
        )

    async def _leave(self, request: Request, _: Session) -> Response:
        self._sessions.end(request.cookies.get(self.cookie))
        answer = Response(status_code=204)
        answer.delete_cookie(self.cookie, path="/", httponly=True, samesite="strict")
        return answer

    async def _status(self, _: Request, __: Session) -> Response:
        document: dict[str, Any] = {"configured": self._sidecar.is_configured, "reachable": False, "error": None}
        if not self._sidecar.is_configured:
            return json_response({**document, "at": None, "status": None})
        look = await self._sidecar.look()
        document |= {"reachable": look.status is not None, "error": look.error, "at": look.at, "status": look.status}
        return json_response(document)

    async def _refresh(self, request: Request, _: Session) -> Response:
        await bodies.read_nothing(request)
        self._log.info("refresh")
        return json_response(await self._sidecar.refresh())

    async def _past(self, _: Request, __: Session) -> Response:
        return json_response(self._history.document())

    async def _prefixes(self, _: Request, __: Session) -> Response:
        return json_response({"prefixes": list(await in_thread(self._connections.prefixes))})

    async def _list(self, _: Request, __: Session) -> Response:
        source = self._connections
        found = list(await in_thread(source.all))
        return json_response(
            {
                "writable": source.refusal is None,
                "where": source.where,
                "reason": source.refusal,
                "connections": found,
            }
        )

    async def _show(self, request: Request, _: Session) -> Response:
        shown = await in_thread(partial(self._connections.show, request.path_params["name"]))
        return json_response({"schemaVersion": 1, **shown})

    async def _add(self, request: Request, _: Session) -> Response:
        wanted = await bodies.read(request, bodies.NewConnection)
        secrets = {name: Secret(text.encode("utf-8", "surrogatepass")) for name, text in wanted.secrets.items()}
        redactor = Redactor()
        for secret in secrets.values():
            redactor.add(secret.reveal())
        try:
            add = partial(self._connections.add, wanted.name, wanted.prefix, wanted.settings, secrets)
            added = await in_thread(add)
        except InjectorError as error:
            return error_response(status_of(error), told(error, redactor.clean))
        self._log.info("connection added", name=added["name"], prefix=added["prefix"])
        return json_response({"schemaVersion": 1, **added}, 201)

    async def _remove(self, request: Request, _: Session) -> Response:
        name = request.path_params["name"]
        await bodies.read_nothing(request)
        await in_thread(partial(self._connections.remove, name))
        self._log.info("connection removed", name=name)
        return Response(status_code=204)

    async def _test(self, request: Request, _: Session) -> Response:
        wanted = await bodies.read(request, bodies.Trial)
        trial = self._connections.test(request.path_params["name"], wanted.token)
        return json_response(await self._trials.run(trial))
