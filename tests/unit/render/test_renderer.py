"""Splicing by position, and what stands in for a missing value."""

from __future__ import annotations

import pytest

from injector.errors import AccessDenied, InjectorError, ValueNotFound
from injector.model.policy import MissingPolicy, OnMissing
from injector.model.references import Reference, Value
from injector.model.secret import Secret
from injector.model.template import Source, Template
from injector.render.renderer import Rendered, Renderer
from injector.template.grammar import Grammar
from injector.template.scanner import scan

GRAMMAR = Grammar(prefixes=frozenset({"T"}))


def template(text: str | bytes) -> Template:
    return scan(Source("app.conf", text.encode() if isinstance(text, str) else text), GRAMMAR)


def rendered(text: str, values: dict[str, str | InjectorError], policy: MissingPolicy = MissingPolicy()) -> Rendered:  # noqa: B008  # frozen
    known = {
        Reference("T", path): value if isinstance(value, InjectorError) else Value(Secret(value.encode()))
        for path, value in values.items()
    }
    return Renderer(known).render(template(text), policy)


def test_values_go_where_their_tokens_stood_and_nothing_else_moves() -> None:
    result = rendered("a=T:///a\nb=T:///ab\r\n\tT:///a T:///ab", {"/a": "1", "/ab": "22"})
    assert result.data.reveal() == b"a=1\nb=22\r\n\t1 22"


@pytest.mark.fault(51, "the value as it is")
def test_a_value_that_looks_like_a_token_is_just_text() -> None:
    assert rendered("x=T:///a", {"/a": "T:///b ${HOME} \\T://"}).data.reveal() == b"x=T:///b ${HOME} \\T://"


@pytest.mark.fault(55, "bytes outside tokens are kept")
def test_bytes_outside_tokens_survive_whatever_they_are() -> None:
    source = b"\xff\xfe\x00T:///a\x00\x80\r\n"
    result = Renderer({Reference("T", "/a"): Value(Secret(b"v"))}).render(template(source), MissingPolicy())
    assert result.data.reveal() == b"\xff\xfe\x00v\x00\x80\r\n"


def test_an_escape_loses_its_backslash_and_fetches_nothing() -> None:
    assert rendered(r"x=\T:///a y=T:///b", {"/b": "v"}).data.reveal() == b"x=T:///a y=v"


def test_every_failed_token_is_reported_with_its_own_place() -> None:
    result = rendered("a=T:///a\nb=T:///a c=T:///b", {"/a": ValueNotFound("no a"), "/b": AccessDenied("no")})
    assert [(str(p.place), p.token, p.code) for p in result.problems] == [
        ("app.conf:1:3", "T:///a", "value-not-found"),
        ("app.conf:2:3", "T:///a", "value-not-found"),
        ("app.conf:2:12", "T:///b", "access-denied"),
    ]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (MissingPolicy(OnMissing.EMPTY), b"x=;"),
        (MissingPolicy(OnMissing.KEEP), b"x=T:///a;"),
        (MissingPolicy(OnMissing.DEFAULT, "none"), b"x=none;"),
    ],
)
def test_the_policy_stands_in_for_a_missing_value_and_says_so(policy: MissingPolicy, expected: bytes) -> None:
    result = rendered("x=T:///a;", {"/a": ValueNotFound("no a")}, policy)
    assert (result.data.reveal(), result.problems) == (expected, ())
    assert [error.code for error in result.forgiven] == ["value-not-found"]


def test_a_tokens_own_default_goes_before_the_policy() -> None:
    text = "x=T:///a[default=own];y=T:///a[optional=true];"
    result = rendered(text, {"/a": ValueNotFound("no a")}, MissingPolicy(OnMissing.FAIL))
    assert (result.data.reveal(), result.problems, result.forgiven) == (b"x=own;y=;", (), ())


@pytest.mark.parametrize("policy", list(OnMissing))
def test_no_policy_forgives_a_denial(policy: OnMissing) -> None:
    result = rendered("x=T:///a", {"/a": AccessDenied("no")}, MissingPolicy(policy))
    assert [error.exit_code for error in result.problems] == [6]


@pytest.mark.parametrize(
    ("value", "code"),
    [("plain", "value-not-structured"), ('{"b": 1}', "key-not-found"), ('{"a":1,"b":{"a":2}}', "key-ambiguous")],
)
def test_each_failed_key_lookup_has_its_own_message(value: str, code: str) -> None:
    result = rendered("x=T:///v|a", {"/v": value})
    assert [error.code for error in result.problems] == [code]


def test_a_value_is_parsed_once_for_all_of_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    from injector.render import keys

    calls = []
    original = keys.parse
    monkeypatch.setattr(keys, "parse", lambda *args: calls.append(1) or original(*args))
    assert rendered("T:///v|a T:///v|b T:///v|a", {"/v": '{"a": 1, "b": 2}'}).data.reveal() == b"1 2 1"
    assert len(calls) == 1
