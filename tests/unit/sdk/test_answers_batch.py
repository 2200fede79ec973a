"""What a store may and may not answer to a batch."""

from __future__ import annotations

import pytest

from injector.sdk.answers import StoreFault, ask_all
from injector.sdk.errors import AccessDenied, NotFound
from injector.sdk.store import Answer, Lease, Reference, TokenStore

A, B, C = (Reference(path) for path in ("/a", "/b", "/c"))


class Saying(TokenStore):
    def __init__(self, *answers):
        self.answers = answers

    def resolve(self, references):
        for answer in self.answers:
            if isinstance(answer, Exception):
                raise answer
            yield answer


def outcomes(store, *references):
    """What came before the end, and how it ended."""
    seen = []
    try:
        for group in ask_all(store, references):
            for place, outcome in group:
                seen.append((place, outcome if isinstance(outcome, Exception) else outcome.value))
    except StoreFault as fault:
        return seen, str(fault)
    return seen, ""


def test_answers_come_in_the_stores_order_as_bytes():
    answers = [(B, "b"), (A, b"\xff"), (C, Answer(bytearray(b"c")))]
    assert outcomes(Saying(*answers), A, B, C) == ([(1, b"b"), (0, b"\xff"), (2, b"c")], "")


def test_version_ttl_and_lease_are_kept():
    lease = Lease("id", 60, renewable=True)
    (((_, answer),),) = ask_all(Saying((A, Answer("x", version="7", ttl=5, lease=lease))), (A,))
    assert (answer.value, answer.version, answer.ttl, answer.lease) == (b"x", "7", 5, lease)


def test_an_answer_is_sent_before_the_store_makes_the_next():
    made = []

    class Slow(TokenStore):
        def resolve(self, references):
            for reference in references:
                made.append(reference)
                yield reference, "x"

    answers = ask_all(Slow(), (A, B))
    next(answers)
    assert made == [A]
    answers.close()


@pytest.mark.parametrize("kind", [list, tuple])
def test_what_is_returned_together_stays_together(kind):
    class Together(TokenStore):
        def resolve(self, references):
            return kind((reference, reference.path) for reference in references)

    (group,) = ask_all(Together(), (A, B, C))
    assert [(place, answer.value) for place, answer in group] == [(0, b"/a"), (1, b"/b"), (2, b"/c")]


def test_a_raised_error_stands_for_all_that_are_open():
    denied = AccessDenied("no")
    assert outcomes(Saying((B, "b"), denied), A, B, C) == ([(1, b"b"), (0, denied), (2, denied)], "")


def test_an_error_raised_before_the_first_answer_by_a_plain_function_is_the_same():
    class Plain(TokenStore):
        def resolve(self, references):
            raise NotFound("none")

    seen, fault = outcomes(Plain(), A, B)
    assert ([place for place, _ in seen], fault) == ([0, 1], "")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ((A, 3), "type int where str"),
        ((A, "hunter2\ud800"), "UTF-8 cannot write"),
        ((A, Answer("hunter2", version=3)), "type int for a version"),
        ((A, Answer("hunter2", ttl=-1)), "number of seconds"),
        ((A, Answer("hunter2", ttl=float("nan"))), "number of seconds"),
        ((A, Answer("hunter2", lease=Lease("i", float("inf")))), "number of seconds"),
        ("hunter2", "where a pair"),
        ((C, "hunter2"), "not asked"),
        (None, "where a pair"),
    ],
)
def test_a_wrong_answer_costs_its_own_reference_and_is_told_without_the_value(wrong, said):
    seen, fault = outcomes(Saying(wrong, (B, "b")), A, B)
    assert seen == [(1, b"b")]
    assert said in fault
    assert "hunter2" not in fault


def test_a_second_answer_is_not_sent():
    assert outcomes(Saying((A, "1"), (A, "2")), A) == ([(0, b"1")], "")


def test_a_store_that_says_nothing_is_at_fault():
    assert outcomes(Saying(), A, B) == ([], "the store gave no answer for 2 of 2 references")


def test_an_answer_never_prints_its_value():
    assert "hunter2" not in repr(Answer("hunter2"))


def test_equal_references_are_asked_for_once_and_each_has_the_answer():
    class Once(TokenStore):
        def resolve(self, references):
            assert references == (A, B)
            return [(reference, "x") for reference in references]

    assert outcomes(Once(), A, B, A) == ([(0, b"x"), (2, b"x"), (1, b"x")], "")


def test_an_empty_batch_is_none_of_the_stores_business():
    assert outcomes(Saying(AssertionError("it was asked"))) == ([], "")
