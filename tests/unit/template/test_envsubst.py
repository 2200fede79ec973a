"""Which dollar signs are variables, and where things are afterwards."""

from __future__ import annotations

import pytest

from injector.errors import VariableUnset
from injector.model.template import Source
from injector.template.envsubst import substitute
from injector.template.grammar import KNOWN_PREFIXES, Grammar
from injector.template.scanner import scan

VARIABLES = {"A": "hello", "B_2": "x", "_": "under", "EMPTY": "", "PREFIX": "VAULT", "RAW": "\udcff", "NON": "é"}


def replaced(text):
    raw = text.encode() if isinstance(text, str) else text
    source, errors = substitute(Source("f", raw), VARIABLES)
    assert errors == ()
    return source.data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A ${A} a$B_2.c$_", b"hello hello ax.cunder"),
        ("$A$A${A}${A}", b"hellohellohellohello"),
        ("${NONE:-d} ${EMPTY:-d} ${A:-d}", b"d d hello"),
        ("x${NONE:-}y${EMPTY:-}z", b"xyz"),
        ("${NONE:-VAULT://a|k[v=1]}", b"VAULT://a|k[v=1]"),
        ("${NONE:-$A}", b"$A"),
        ("${NONE:-${A}}", b"${A}"),
        ("${A:-$NONE ${NONE}", b"hello"),
        ("${NONE:--}${NONE:-:-}", b"-:-"),
        ("$RAW$NON", b"\xff\xc3\xa9"),
        (b"\xff$A\x00", b"\xffhello\x00"),
    ],
)
def test_variables_are_replaced_by_their_values_or_defaults(text, expected):
    assert replaced(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "$", "$$", "$$A", "$1", "$12A", "$$$$A", "${}", "${", "${A", "${A:", "${A:-", "${A:-x\n}", "${A:-x\r}",
     "${server.port}", "${A-x}", "${A:=x}", "${ A}", "${A }", "$-", "$(A)", "${1}", "$ A", "$é",
     "A}", "{A}", "%A%", "${A:?x}", "$\n"],
)  # fmt: skip
def test_every_other_dollar_sign_is_left_alone(text):
    source = Source("f", text.encode())
    assert substitute(source, VARIABLES) == (source, ())


def test_a_dollar_after_an_escaped_pair_starts_a_variable():
    assert replaced("$$$A $$A") == b"$$hello $$A"


def test_a_default_that_never_ends_does_not_hide_a_variable_after_it():
    assert replaced("${A:-$A\n${A") == b"${A:-hello\n${A"


def test_each_missing_name_is_told_once_where_it_is_first_used():
    text = "a: $A\nb: é${GONE} $EMPTY\nc: $GONE ${GONE}\n"
    source, errors = substitute(Source("f", text.encode()), VARIABLES)
    assert [(type(error), str(error.place), error.token) for error in errors] == [
        (VariableUnset, "f:2:5", "${GONE}"), (VariableUnset, "f:2:13", "$EMPTY"),
    ]  # fmt: skip
    assert "GONE" in errors[0].message
    assert "3 times" in errors[0].message
    assert "times" not in errors[1].message
    assert errors[0].hint
    assert source.data.decode() == text.replace("$A", "hello")


def test_names_are_told_apart_by_case():
    _, errors = substitute(Source("f", b"$a $A"), {"A": "1"})
    assert [error.token for error in errors] == ["$a"]


# ----------------------------------------------------------------------------------------------------------- places


@pytest.mark.parametrize("value", ["", "v", "$A", "a long value\nof two lines"])
@pytest.mark.parametrize("written", ["$V", "${V}", "${V:-some default}"])
def test_what_stands_after_a_variable_keeps_its_place_in_the_file(value, written):
    text = f"é: {written}x\n{written}{written}y".encode()
    variables = {"V": value} if value or "default" not in written else {}
    source, _ = substitute(Source("f", text), {**variables, "V": value or "z"})
    for mark in (b"x", b"y"):
        offset = source.data.rindex(mark)
        assert source.place(offset) == Source("f", text).place(text.rindex(mark))


def test_what_stands_inside_a_value_is_placed_at_its_variable():
    source, _ = substitute(Source("f", b"ab $A$A\n"), {"A": "12345"})
    places = [source.place(offset).column for offset in range(len(source.data))]
    assert places == [1, 2, 3, *[4] * 5, *[6] * 5, 8]


def test_a_token_that_a_value_completes_is_marked_as_it_stands_in_the_file():
    source, _ = substitute(Source("f", b"k: $PREFIX://a/$A| b"), VARIABLES)
    (problem,) = scan(source, Grammar(KNOWN_PREFIXES)).problems
    place = problem.place
    assert problem.token == "VAULT://a/hello|"
    assert (str(place), place.excerpt) == ("f:1:4", "k: $PREFIX://a/$A| b")
    assert place.excerpt[place.caret : place.caret + place.length] == "$PREFIX://a/$A|"


def test_an_error_after_an_empty_value_is_placed_behind_the_variable():
    source, _ = substitute(Source("f", b"${EMPTY:-}VAULT://"), VARIABLES)
    (problem,) = scan(source, Grammar(KNOWN_PREFIXES)).problems
    assert str(problem.place) == "f:1:11"


def test_a_value_that_looks_like_a_variable_is_not_replaced_again():
    source, errors = substitute(Source("f", b"$X"), {"X": "$Y ${Z}"})
    assert (source.data, errors) == (b"$Y ${Z}", ())
