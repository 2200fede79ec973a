"""Every form in which a value could be printed is masked."""

from __future__ import annotations

import base64
import io
import json
import urllib.parse
from collections.abc import Callable

import pytest

from injector.telemetry import redaction
from injector.telemetry.logs import Level, Log
from injector.telemetry.redaction import MASK, Redactor

CANARY = 'k"ey/with\\ ümläut 9'


@pytest.mark.parametrize(
    "form",
    [
        lambda v: v,
        json.dumps,
        lambda v: json.dumps(v, ensure_ascii=False),
        urllib.parse.quote,
        lambda v: urllib.parse.quote(v, safe=""),
        lambda v: base64.b64encode(v.encode()).decode(),
        lambda v: base64.urlsafe_b64encode(v.encode()).decode(),
        lambda v: repr(v)[1:-1],
        lambda v: repr(v.encode())[2:-1],
        urllib.parse.quote_plus,
    ],
    ids=["plain", "json", "json-utf8", "url", "url-all", "base64", "base64url", "repr", "repr-bytes", "form"],
)
def test_a_known_value_is_masked(form: object) -> None:
    redactor = Redactor()
    redactor.add(CANARY.encode())
    text = form(CANARY)  # type: ignore[operator]  # a lambda of the list above
    cleaned = redactor.clean(f"before {text} after")
    assert cleaned.replace('"', "").rstrip("=").replace("=", "") == "before *** after"


@pytest.mark.parametrize("before", [b"", b"u", b"us", b"usr"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_value_inside_larger_base64_is_masked(before: bytes, encode: Callable[[bytes], bytes]) -> None:
    value = b"\xfb\xff pass>>word?? 4711"
    redactor = Redactor()
    redactor.add(value)
    text = encode(before + value + b"more of it").decode()
    cleaned = redactor.clean(text)
    assert MASK in cleaned
    left = cleaned.replace(MASK, "")
    assert len(left) <= len(text) - (len(value) * 8 // 6 - 2)


def test_each_line_of_a_value_is_masked_by_itself() -> None:
    redactor = Redactor()
    lines = ["-----BEGIN KEY-----", "MIIEvQIBADANBgkqh", "kiG9w0BAQEFAASCBK"]
    redactor.add("\n".join([*lines, ""]).encode())
    for line in lines:
        assert redactor.clean(f"  {line}\r") == f"  {MASK}\r"
    assert redactor.clean("\\n".join(lines)) == MASK


def test_the_texts_of_a_json_value_are_values() -> None:
    redactor = Redactor()
    redactor.add(json.dumps({"user": "app", "inner": [{"password": 'pa"ss word-9'}]}).encode())
    assert redactor.clean('pa"ss word-9') == MASK
    assert redactor.clean(json.dumps('pa"ss word-9')) == f'"{MASK}"'
    assert redactor.clean("app") == "app"


def test_hostile_json_is_no_reason_to_fail() -> None:
    redactor = Redactor()
    redactor.add(b"[" * 60_000)
    redactor.add(b"{" + b"\xff" * 100)
    assert redactor.clean("nothing") == "nothing"


def test_a_long_value_that_was_cut_is_masked_as_far_as_it_goes() -> None:
    value = "".join(f"{number:04d}-" for number in range(10_000))
    redactor = Redactor()
    redactor.add(value.encode())
    assert redactor.clean(f"a {value} b") == f"a {MASK} b"
    assert redactor.clean(f"a {value[:500]} b") == f"a {MASK} b"
    assert redactor.clean(f"a {value[:20]} b") == f"a {value[:20]} b"
    assert redactor.clean(f"a {value[:20]}") == f"a {MASK}"
    assert redactor.clean(f"a {value[:6]}") == f"a {value[:6]}"


def test_of_two_values_the_longer_one_is_masked() -> None:
    redactor = Redactor()
    for value in (b"pass", b"password", b"password-and-more"):
        redactor.add(value)
    assert redactor.clean("password-and so on") == f"{MASK}-and so on"
    assert redactor.clean("password-and-more!") == f"{MASK}!"
    assert redactor.clean("pass password") == f"{MASK} {MASK}"


def test_values_that_are_not_retained_are_forgotten_and_leave_nothing_behind() -> None:
    redactor = Redactor()
    for number in range(100):
        redactor.add(f"value-number-{number:03d}".encode())
    redactor.clean("x")
    redactor.add(b"never cleaned yet")
    redactor.retain([b"value-number-007", b"not known"])
    assert redactor.clean("value-number-007 value-number-008") == f"{MASK} value-number-008"
    assert redactor.clean("not known, never cleaned yet") == "not known, never cleaned yet"
    redactor.retain([])
    assert not redactor._index._groups
    assert not redactor._index._counts


def test_a_form_that_two_values_share_stays_until_both_are_gone() -> None:
    redactor = Redactor()
    redactor.add(b"a shared line\nof the first")
    redactor.add(b"a shared line\nof the second")
    redactor.clean("x")
    redactor.retain([b"a shared line\nof the second"])
    assert redactor.clean("a shared line") == MASK


def test_many_values_are_searched_by_one_look_for_each_character() -> None:
    redactor = Redactor()
    for number in range(10_000):
        redactor.add(f'{{"username":"app","password":"{number:08d}-secret"}}'.encode())
    searched = []
    original = redaction._longest

    def counting(group: list[str], text: str) -> int:
        searched.append(text)
        return original(group, text)

    text = "a line without a value " * 1_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redaction, "_longest", counting)
        assert redactor.clean(text) == text
        assert searched == []
        assert redactor.clean(text + "00004711-secret") == text + MASK
        assert len(searched) == 1


def test_what_is_too_short_is_left_alone() -> None:
    redactor = Redactor()
    redactor.add(b"on")
    assert redactor.clean("turned on") == "turned on"


def test_a_forgotten_value_is_no_longer_looked_for() -> None:
    redactor = Redactor()
    redactor.add(b"password-1")
    redactor.clear()
    assert redactor.clean("password-1") == "password-1"


@pytest.mark.parametrize("as_json", [False, True])
def test_log_lines_are_cleaned_in_both_formats(*, as_json: bool) -> None:
    stream = io.StringIO()
    log = Log(Level.INFO, as_json=as_json, stream=stream)
    log.redactor.add(CANARY.encode())
    log.info("fetched", value=CANARY, plugin="demo")
    assert "ümläut" not in stream.getvalue()
    assert "\\u00fc" not in stream.getvalue()
    assert "demo" in stream.getvalue()


def test_a_line_below_the_level_costs_no_import() -> None:
    stream = io.StringIO()
    log = Log(Level.WARNING, stream=stream)
    log.info("nothing")
    assert stream.getvalue() == ""
    assert log._render is None


def test_field_names_of_plugins_cannot_break_the_line() -> None:
    stream = io.StringIO()
    Log(Level.INFO, stream=stream).info("x", **{"a b=c\n": "v\nw", "": 1})
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("as_json", [False, True])
def test_what_a_plugin_has_escaped_already_is_cleaned_too(*, as_json: bool) -> None:
    stream = io.StringIO()
    log = Log(Level.INFO, as_json=as_json, stream=stream)
    log.redactor.add(CANARY.encode())
    log.info("plugin output", message=json.dumps({"secret": CANARY}))
    assert "mläut" not in stream.getvalue()
    assert "with" not in stream.getvalue()


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        ("delete\x7fme", json.dumps("delete\x7fme")[1:-1]),  # ASCII, and yet spelled in two ways
        ("delete\x7fme", "delete\x7fme"),
        ("äaa", base64.b64encode("äaa".encode()).decode()),  # four bytes, but only three characters
        ("line\n", base64.b64encode(b"line\n").decode()),
        ("line\n", base64.b64encode(b"line").decode()),
    ],
)
def test_spellings_that_only_some_values_have_are_masked(value: str, spelled: str) -> None:
    redactor = Redactor()
    redactor.add(value.encode())
    assert redactor.clean(f"[{spelled}]").replace("=", "") == "[***]"
