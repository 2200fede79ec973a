"""Asks a store, and holds its answers to the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.errors import ResolutionError
from injector.sdk.store import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from injector.sdk.store import Answer, TokenStore


class StoreFault(Exception):
    """The store broke its contract. The text is ours and holds nothing of the store's."""


def ask(store: TokenStore, reference: Reference) -> str:
    """
    The value of one reference as text, the only form that protocol 1 has.

    ResolutionError: the store's own answer. StoreFault: no answer, an answer to another question, or one that is no
    text. Whatever else the store raises is passed on.
    """
    outcome = _outcome(store.resolve((reference,)), reference)
    if isinstance(outcome, ResolutionError):
        raise outcome
    return _as_text(outcome)


def _outcome(answers: Iterable[Answer], reference: Reference) -> object:
    iterator = iter(answers)
    try:
        for answer in iterator:
            asked, outcome = _pair(answer)
            if asked == reference:
                return outcome
        raise StoreFault("the store gave no answer for this reference")
    finally:
        _close(iterator)


def _pair(answer: object) -> tuple[Reference, object]:
    # Authors need not use a type checker, so that "object" is the truth.
    if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], Reference):
        return answer
    raise StoreFault(f"the store's resolve() gave {_kind(answer)} where a pair (reference, value) is expected")


def _close(iterator: Iterator[Answer]) -> None:
    # A generator's `finally` runs now, not when the garbage collector comes by.
    close = getattr(iterator, "close", None)
    if close is not None:
        close()


def _as_text(value: object) -> str:
    try:
        if isinstance(value, str):
            value.encode()
            return value
        if isinstance(value, bytes | bytearray):
            return value.decode()
    except UnicodeError:  # carries the value
        raise StoreFault("the value is not UTF-8 text, and protocol 1 of the host carries no other") from None
    raise StoreFault(f"the store gave {_kind(value)} where str, bytes or an error of injector.sdk.errors is expected")


def _kind(thing: object) -> str:
    return f"an object of type {type(thing).__qualname__}"
