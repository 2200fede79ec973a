"""What holds of the substitution of variables for any text."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from injector.errors import VariableUnset
from injector.model.template import Source
from injector.template.envsubst import substitute
from injector.template.grammar import KNOWN_PREFIXES, Grammar
from injector.template.scanner import scan

NAMES = ["A", "B_1", "_x", "LONGER_NAME"]
fragments = st.sampled_from(
    [b"$", b"$$", b"{", b"}", b"${", b":-", b"$A", b"${A}", b"${B_1:-", b"${NONE", b"$NONE", b"${NONE:-d}", b"A", b"1",
     b"_", b"\n", b"\r", b" ", b"\xff", "é".encode(), b"VAULT://", b"x|", b"[", b"]"]
)  # fmt: skip
texts = st.lists(st.one_of(fragments, st.binary(max_size=3)), max_size=25).map(b"".join)
values = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
environments = st.dictionaries(st.sampled_from(NAMES), values)


@settings(max_examples=400, deadline=None)
@given(texts, environments)
def test_any_bytes_are_taken_and_every_place_is_one_of_the_file(data, variables):
    original = Source("f", data)
    source, errors = substitute(original, variables)
    assert len({error.token.strip("${}") for error in errors}) == len(errors)
    for error in errors:
        assert isinstance(error, VariableUnset)
        assert error.token.encode() in data
    problems = scan(source, Grammar(KNOWN_PREFIXES)).problems
    for place in [error.place for error in (*errors, *problems)]:
        assert 1 <= place.line <= data.count(b"\n") + 1
        line = data.split(b"\n")[place.line - 1].decode("utf-8", "replace")
        assert 1 <= place.column <= len(line) + 1


@settings(max_examples=200, deadline=None)
@given(texts)
def test_a_text_without_a_dollar_sign_is_the_same_source(data):
    assume(b"$" not in data)
    source = Source("f", data)
    assert substitute(source, {"A": "x"}) == (source, ())


@settings(max_examples=200, deadline=None)
@given(texts, environments)
def test_places_in_the_result_never_go_backwards(data, variables):
    source, _ = substitute(Source("f", data), variables)
    places = [(place.line, place.column) for place in map(source.place, range(len(source.data) + 1))]
    assert places == sorted(places)


plain = st.text("ab1 _:-é\n./", max_size=6)
defaults = st.text("ab ${:-é", max_size=6)
forms = st.one_of(
    st.tuples(st.just("${"), st.sampled_from(NAMES), st.just("}")),
    st.tuples(st.just("${"), st.sampled_from(NAMES), defaults.map(lambda text: f":-{text}}}")),
    st.tuples(st.just("$"), st.sampled_from(NAMES), st.just("")),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(plain.map(lambda text: f".{text}"), forms), max_size=8), environments)
def test_the_result_is_what_its_parts_give_and_text_keeps_its_place(parts, variables):
    written = expected = ""
    marks = []
    missing = []
    for text, (opening, name, closing) in parts:
        marks.append((len(expected.encode()), len(written.encode())))
        value = variables.get(name) or (closing[2:-1] if closing.startswith(":-") else None)
        if value is None:
            missing.append(name)
            value = opening + name + closing
        written += text + opening + name + closing
        expected += text + value
    # Behind the last one, and behind a name without braces, stands what cannot belong to a name.
    written, expected = written + ".", expected + "."
    original = Source("f", written.encode())
    source, errors = substitute(original, variables)
    assert source.data == expected.encode()
    assert [error.token.strip("${}") for error in errors] == list(dict.fromkeys(missing))
    for here, there in marks:
        assert source.place(here) == original.place(there)


@pytest.mark.parametrize(
    ("unit", "size"),
    [(unit, 15_000) for unit in (b"$", b"$$", b"${A", b"${A:-", b"$A", b"${N}", b"${N:-}", b"{$A:-}", b"A")]
    # What is searched in vain is searched at memory speed: only a long text shows it.
    + [(b"${A:-x", 150_000)],
)
def test_four_times_the_text_takes_about_four_times_the_time(growth, unit, size):
    small, large = (Source("f", unit * (n // len(unit))) for n in (size, 4 * size))
    assert growth(partial(substitute, small, {"A": "x"}), partial(substitute, large, {"A": "x"}), below=8) < 8
