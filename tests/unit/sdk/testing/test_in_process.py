"""A store asked without a process."""

from __future__ import annotations

import pytest

from injector.sdk import Answer, LookupStore, NotFound, Reference, Throttled, TokenStore
from injector.sdk.testing import resolve_in_process


class Echo(LookupStore):
    def look_up(self, reference):
        if reference.path == "/none":
            raise NotFound("none")
        return f"{reference.path}[{reference.raw_metadata}]"


class Given(TokenStore):
    """Gives what it was made with; an exception is raised."""

    def __init__(self, *answers):
        self.answers = answers

    def resolve(self, references):
        for answer in self.answers:
            if isinstance(answer, Exception):
                raise answer
            yield answer


def test_outcomes_come_in_the_order_of_the_questions_of_all_forms():
    asked = ["/b", ("/a", "v=1"), Reference("/c", "x"), "/none", "/b"]
    first, second, third, missing, again = resolve_in_process(Echo(), asked)
    assert [first, second, third, again] == ["/b[]", "/a[v=1]", "/c[x]", "/b[]"]
    assert isinstance(missing, NotFound)


def test_an_error_that_is_raised_is_the_outcome_of_what_was_not_answered():
    store = Given((Reference("/b"), "b"), Throttled("slow down"))
    first, second = resolve_in_process(store, ["/a", "/b"])
    assert isinstance(first, Throttled)
    assert second == "b"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("text", "not a pair"),
        ((Reference("/a"),), "a tuple of 1"),
        (("/a", "x"), "no Reference"),
        ((Reference("/other"), "x"), "not asked for"),
        ((Reference("/a"), 1), "of type int"),
        ((Reference("/a"), None), "of type NoneType"),
    ],
)
def test_a_broken_contract_is_told(answer, said):
    with pytest.raises(AssertionError, match=said):
        resolve_in_process(Given(answer), ["/a"])


def test_no_answer_and_two_answers_break_the_contract():
    with pytest.raises(AssertionError, match="no answer"):
        resolve_in_process(Given(), ["/a"])
    with pytest.raises(AssertionError, match="twice"):
        resolve_in_process(Given((Reference("/a"), "x"), (Reference("/a"), "y")), ["/a"])


def test_other_exceptions_pass_through():
    with pytest.raises(ZeroDivisionError):
        resolve_in_process(Given(ZeroDivisionError()), ["/a"])


def test_a_value_with_its_version_is_an_outcome():
    class Versioned(TokenStore):
        def resolve(self, references):
            return [(reference, Answer("x", version="7")) for reference in references]

    (answer,) = resolve_in_process(Versioned(), ["/a"])
    assert (answer.value, answer.version) == ("x", "7")
