"""Every form in which a value could be printed is masked."""

from __future__ import annotations

import base64
import io
import json
import urllib.parse

import pytest

from injector.telemetry.logs import Level, Log
from injector.telemetry.redaction import Redactor

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
    ],
    ids=["plain", "json", "json-utf8", "url", "url-all", "base64"],
)
def test_a_known_value_is_masked(form: object) -> None:
    redactor = Redactor()
    redactor.add(CANARY.encode())
    text = form(CANARY)  # type: ignore[operator]  # a lambda of the list above
    cleaned = redactor.clean(f"before {text} after")
    assert cleaned.replace('"', "").rstrip("=").replace("=", "") == "before *** after"


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
