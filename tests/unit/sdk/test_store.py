"""References, and the store that looks up one at a time."""

from __future__ import annotations

import pytest

from injector.sdk.errors import InvalidReference, NotFound
from injector.sdk.store import LookupStore, Reference, TokenStore


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", {}),
        ("version=3", {"version": "3"}),
        ("a=1,b=2", {"a": "1", "b": "2"}),
        ("a=x=y", {"a": "x=y"}),
        (" a = 1 ,b=", {"a": " 1 ", "b": ""}),
    ],
)
def test_metadata_is_read_as_pairs(text, pairs):
    assert Reference("/p", text).metadata == pairs


@pytest.mark.parametrize("text", ["x", "a=1,", "=1", ",", "a=1,a=2", " =1"])
def test_metadata_that_is_no_list_of_pairs_is_an_invalid_reference(text):
    with pytest.raises(InvalidReference, match="'/p'"):
        _ = Reference("/p", text).metadata


def test_a_lookup_store_keeps_each_failure_with_its_reference():
    class Store(LookupStore):
        def look_up(self, reference):
            if reference.path == "b":
                raise NotFound("no b")
            return reference.path.upper()

    answers = dict(Store().resolve([Reference("a"), Reference("b"), Reference("c")]))
    assert answers[Reference("a")] == "A"
    assert isinstance(answers[Reference("b")], NotFound)
    assert answers[Reference("c")] == "C"


def test_a_store_without_resolve_cannot_be_made():
    with pytest.raises(TypeError):
        TokenStore()
