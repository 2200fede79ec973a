"""What a store may and may not answer."""

from __future__ import annotations

import pytest

from injector.sdk.answers import StoreFault, ask
from injector.sdk.errors import AccessDenied
from injector.sdk.store import Reference, TokenStore

ASKED = Reference("/a", "k=v")


class Fixed(TokenStore):
    def __init__(self, answers):
        self.answers = answers

    def resolve(self, references):
        assert references == (ASKED,)
        return self.answers


@pytest.mark.parametrize("value", ["text", b"text", bytearray(b"text")])
def test_text_and_bytes_in_utf8_are_values(value):
    assert ask(Fixed([(ASKED, value)]), ASKED) == "text"


def test_an_error_given_and_an_error_raised_are_the_same():
    class Raising(TokenStore):
        def resolve(self, references):
            raise AccessDenied("no")
            yield

    for store in (Raising(), Fixed([(ASKED, AccessDenied("no"))])):
        with pytest.raises(AccessDenied, match="no"):
            ask(store, ASKED)


def test_an_answer_to_another_question_is_passed_over():
    assert ask(Fixed([(Reference("/b"), "b"), (ASKED, "a")]), ASKED) == "a"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([], "no answer"),
        ([(Reference("/b"), "b")], "no answer"),
        (["hunter2"], "type str where a pair"),
        ([("/a", "hunter2")], "type tuple where a pair"),
        ([(ASKED, 3)], "type int where str"),
        ([(ASKED, None)], "type NoneType where str"),
        ([(ASKED, b"hunter2\xff")], "not UTF-8"),
        ([(ASKED, "hunter2\ud800")], "not UTF-8"),
        ([(ASKED, KeyError("hunter2"))], "type KeyError where str"),
    ],
)
def test_what_is_no_answer_is_a_fault_that_holds_no_value(answers, said):
    with pytest.raises(StoreFault, match=said) as caught:
        ask(Fixed(answers), ASKED)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_generators_finally_has_run_when_the_answer_is_there():
    ended = []

    class Generating(TokenStore):
        def resolve(self, references):
            try:
                yield ASKED, "a"
                yield ASKED, "never asked for"
            finally:
                ended.append(True)

    assert ask(Generating(), ASKED) == "a"
    assert ended == [True]
