"""Signing in: tokens that work once, and the sessions that they are exchanged for."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN_TIME: Final = 300.0
"""Seconds in which a token has to be used."""

MOST_ATTEMPTS: Final = 100
"""Wrong tokens, after which the right one is of no use either."""

MOST_SESSIONS: Final = 4
IDLE_TIME: Final = 2 * 3600.0
LONGEST: Final = 12 * 3600.0


def clock() -> float:
    """Seconds that go on while the machine sleeps: who opens the lid the next day is signed out."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class OneTimeToken:
    """
    The token that is good for signing in at the moment, if there is one; `issue` makes the one before useless.

    `attempts` are those since then that were refused. They are counted so that nobody can try for long.
    """

    def __init__(self, now: Callable[[], float] = clock) -> None:
        self._now = now
        self._token: bytes | None = None
        self._until = 0.0
        self.attempts = 0

    def issue(self) -> str:
        """A new token, good for `TOKEN_TIME` seconds and one use."""
        token = secrets.token_urlsafe(32)
        self._token, self._until, self.attempts = token.encode(), self._now() + TOKEN_TIME, 0
        return token

    def redeem(self, given: str) -> bool:
        """Whether *given* is the token; if so it is used up."""
        token, self._token = self._token, None
        if token is not None and self._now() < self._until:
            if hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token):
                return True
            if self.attempts + 1 < MOST_ATTEMPTS:
                self._token = token
        self.attempts += 1
        return False


class Session(Struct, frozen=True):
    """
    Who is signed in: `csrf` is what a page of ours says with each request, beside the cookie. Browsers send a cookie to
    every port of a host, and so to other users of this machine; what is in a header goes to us alone.
    """

    csrf: str
    began: float
    seen: float


class Sessions:
    """
    The sessions of this process, at most `MOST_SESSIONS`: one more ends the one that was idle for longest. They end by
    themselves after `IDLE_TIME` without a request, and `LONGEST` after signing in.

    Cookies are kept as hashes: finding one takes no time that tells of another.
    """

    def __init__(self, now: Callable[[], float] = clock) -> None:
        self._now = now
        self._sessions: dict[bytes, Session] = {}

    def begin(self) -> tuple[str, Session]:
        """A new session and its cookie's value."""
        self._forget_ended()
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[min(self._sessions, key=lambda each: self._sessions[each].seen)]
        cookie, now = secrets.token_urlsafe(32), self._now()
        session = Session(secrets.token_urlsafe(32), now, now)
        self._sessions[_hash(cookie)] = session
        return cookie, session

    def find(self, cookie: str | None) -> Session | None:
        """The session of *cookie*; None when there is none, or no more."""
        self._forget_ended()
        return self._sessions.get(_hash(cookie or ""))

    def used(self, cookie: str | None) -> None:
        """Notes that the session of *cookie* is not idle."""
        key = _hash(cookie or "")
        if key in self._sessions:
            self._sessions[key] = replace(self._sessions[key], seen=self._now())

    def end(self, cookie: str | None) -> None:
        """Ends the session of *cookie*, if there is one."""
        self._sessions.pop(_hash(cookie or ""), None)

    def _forget_ended(self) -> None:
        now = self._now()
        self._sessions = {
            key: session
            for key, session in self._sessions.items()
            if now - session.seen < IDLE_TIME and now - session.began < LONGEST
        }


def _hash(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).digest()
