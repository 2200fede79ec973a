"""Tokens that work once, and sessions that end."""

from __future__ import annotations

from injector.web.session import (
    IDLE_TIME,
    LONGEST,
    MOST_ATTEMPTS,
    MOST_SESSIONS,
    TOKEN_TIME,
    OneTimeToken,
    Sessions,
    clock,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_works_once() -> None:
    tokens = OneTimeToken()
    token = tokens.issue()
    assert tokens.redeem(token)
    assert not tokens.redeem(token)


def test_there_is_no_token_before_one_is_issued() -> None:
    assert not OneTimeToken().redeem("")


def test_a_token_is_late_after_five_minutes() -> None:
    time = Clock()
    tokens = OneTimeToken(time)
    token = tokens.issue()
    time.now += TOKEN_TIME - 1
    assert not tokens.redeem("another")
    time.now += 1
    assert not tokens.redeem(token)
    time.now -= 2
    assert not tokens.redeem(token), "it does not come back with the clock"
    assert tokens.redeem(tokens.issue())


def test_a_new_token_ends_the_one_before() -> None:
    tokens = OneTimeToken()
    first, second = tokens.issue(), tokens.issue()
    assert first != second
    assert not tokens.redeem(first)
    assert tokens.redeem(second)


def test_too_many_wrong_tokens_end_the_right_one() -> None:
    tokens = OneTimeToken()
    token = tokens.issue()
    assert not any(tokens.redeem(f"{token}{number}") for number in range(MOST_ATTEMPTS - 1))
    assert tokens.attempts == MOST_ATTEMPTS - 1
    assert not tokens.redeem("\udcff no UTF-8")
    assert not tokens.redeem(token)
    assert tokens.redeem(tokens.issue())


def test_one_wrong_token_less_does_not() -> None:
    tokens = OneTimeToken()
    token = tokens.issue()
    assert not any(tokens.redeem("x") for _ in range(MOST_ATTEMPTS - 1))
    assert tokens.redeem(token)


def test_a_session_is_found_by_its_cookie_alone() -> None:
    sessions = Sessions()
    cookie, session = sessions.begin()
    assert cookie not in repr(session)
    found = sessions.find(cookie)
    assert found is not None
    assert found.csrf == session.csrf
    assert sessions.find(session.csrf) is sessions.find(None) is sessions.find("") is sessions.find("\udcff") is None
    sessions.end(cookie)
    assert sessions.find(cookie) is None
    sessions.end(cookie)


def test_a_session_ends_when_nobody_uses_it_and_at_last_in_any_case() -> None:
    time = Clock()
    sessions = Sessions(time)
    idle, used = sessions.begin()[0], sessions.begin()[0]
    began = time.now
    while time.now - began < LONGEST - IDLE_TIME / 2:
        time.now += IDLE_TIME / 2
        assert sessions.find(used) is not None
        sessions.used(used)
    assert sessions.find(idle) is None
    time.now = began + LONGEST
    assert sessions.find(used) is None


def test_one_session_too_many_ends_the_one_that_was_idle_for_longest() -> None:
    time = Clock()
    sessions = Sessions(time)
    cookies = []
    for _ in range(MOST_SESSIONS):
        time.now += 1
        cookies.append(sessions.begin()[0])
    time.now += 1
    sessions.used(cookies[0])
    sessions.used("nobody's")
    cookies.append(sessions.begin()[0])
    assert [sessions.find(cookie) is not None for cookie in cookies] == [True, False, True, True, True]


def test_the_clock_goes_on() -> None:
    assert clock() <= clock()
