"""Errors of ours as HTTP."""

from __future__ import annotations

import json

import pytest

from injector import errors
from injector.web.answers import json_response, status_of, told


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ConnectionUnknown("x"), 404),
        (errors.ConnectionExists("x"), 409),
        (errors.ConnectionInvalid("x"), 422),
        (errors.InvalidConfiguration("x"), 422),
        (errors.ValueNotFound("x"), 422),
        (errors.NoAnswer("x"), 502),
        (errors.AccessDenied("x"), 502),
        (errors.PluginCrashed("x"), 502),
        (errors.ConnectionStoreUnwritable("x"), 502),
        (errors.RunFailed([errors.ConnectionExists("x"), errors.NoAnswer("y")]), 409),
    ],
)
def test_each_error_has_a_status(error: errors.InjectorError, status: int) -> None:
    assert status_of(error) == status


def test_of_several_errors_the_first_is_told_and_how_many_there_are() -> None:
    several = errors.RunFailed([errors.ConnectionInvalid("one canary", hint="not canary"), errors.NoAnswer("two")])
    document = told(several, lambda text: text.replace("canary", "***"))
    assert document == {"code": "connection-invalid", "message": "one *** (and 1 more)", "hint": "not ***"}


def test_names_that_are_no_unicode_are_sent_all_the_same() -> None:
    assert json.loads(json_response({"name": "a\udcffb"}).body) == {"name": "a?b"}
