"""Asks a store, and holds its answers to the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.errors import ResolutionError
from injector.sdk.store import Answer, Reference

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from injector.sdk.store import Pair, TokenStore


_LONGEST = 1e10  # seconds; what a google.protobuf.Duration can hold is a little more


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


def ask_all(
    store: TokenStore, references: Sequence[Reference]
) -> Generator[list[tuple[int, Answer | ResolutionError]], None, None]:
    """
    The answers of a batch as the store gives them: the reference's place in *references*, and its value as bytes or
    its error. What a store returns as a list comes as one list, what it yields one by one.

    Each place comes at most once; equal references are asked for once. A raised ResolutionError of the store stands
    for all that are open. What the store does wrong costs the references that it is about: it raises StoreFault at the
    end, for all that are open. Whatever else the store raises is passed on.
    """
    places: dict[Reference, list[int]] = {}
    for place, reference in enumerate(references):
        places.setdefault(reference, []).append(place)
    if not places:
        return  # hosts send no empty batch, and no store is asked to cope with one
    fault = ""
    answers = _until_error(store, tuple(places), places)
    try:
        for group in answers:
            good: list[tuple[int, Answer | ResolutionError]] = []
            for answer in group:
                try:
                    asked, outcome = _pair(answer)
                    checked = _with_bytes(outcome)
                except StoreFault as error:
                    fault = fault or str(error)
                    continue
                asked_at = places.pop(asked, None)
                if asked_at is None:
                    fault = fault or "the store answered for what it was not asked, or twice"
                else:
                    good += [(place, checked) for place in asked_at]
            if good:
                yield good
    finally:
        answers.close()
    if places:
        raise StoreFault(fault or f"the store gave no answer for {len(places)} of {len(references)} references")


def _until_error(
    store: TokenStore, references: Sequence[Reference], left: Mapping[Reference, object]
) -> Generator[Sequence[object], None, None]:
    iterator: Iterator[Pair] = iter(())
    try:
        answers = store.resolve(references)
        if isinstance(answers, list | tuple):
            yield answers
            return
        iterator = iter(answers)
        for answer in iterator:
            yield (answer,)
    except ResolutionError as error:
        yield [(reference, error) for reference in left]
    finally:
        _close(iterator)


def _with_bytes(outcome: object) -> Answer | ResolutionError:
    if isinstance(outcome, ResolutionError):
        return outcome
    data = _as_bytes(_value(outcome))
    if not isinstance(outcome, Answer):
        return Answer(data)
    if not isinstance(outcome.version, str):
        raise StoreFault(f"the store gave {_kind(outcome.version)} for a version, where str is expected")
    for seconds in (outcome.ttl, outcome.lease.duration if outcome.lease else None):
        if seconds is not None and not 0 <= seconds < _LONGEST:
            raise StoreFault("the store gave a time to live or a lease that is no number of seconds from 0")
    return Answer(data, outcome.version, outcome.ttl, outcome.lease)


def _as_bytes(value: str | bytes | bytearray) -> bytes:
    try:
        return value.encode() if isinstance(value, str) else bytes(value)
    except UnicodeError:  # carries the value
        raise StoreFault("the value is text that UTF-8 cannot write") from None


def _outcome(answers: Iterable[Pair], reference: Reference) -> object:
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


def _close(iterator: Iterator[Pair]) -> None:
    # A generator's `finally` runs now, not when the garbage collector comes by.
    close = getattr(iterator, "close", None)
    if close is not None:
        close()


def _as_text(outcome: object) -> str:
    value = _value(outcome)
    try:
        if isinstance(value, str):
            value.encode()
            return value
        return value.decode()
    except UnicodeError:  # carries the value
        raise StoreFault("the value is not UTF-8 text, and protocol 1 of the host carries no other") from None


def _value(outcome: object) -> str | bytes | bytearray:
    value = outcome.value if isinstance(outcome, Answer) else outcome
    if isinstance(value, str | bytes | bytearray):
        return value
    raise StoreFault(f"the store gave {_kind(value)} where str, bytes or an error of injector.sdk.errors is expected")


def _kind(thing: object) -> str:
    return f"an object of type {type(thing).__qualname__}"
