"""No value comes through the redactor, in no spelling, whatever stands around it."""

from __future__ import annotations

import base64
import json
import urllib.parse

from hypothesis import given
from hypothesis import strategies as st

from injector.telemetry.redaction import MASK, SHORTEST, Redactor

# Few letters, so that values begin, contain and overlap each other.
values = st.lists(st.text('abA1"\\\n{é%+/ ', min_size=SHORTEST, max_size=40).map(str.strip), max_size=8)
SPELLINGS = (
    str,
    lambda value: json.dumps(value)[1:-1],
    urllib.parse.quote,
    lambda value: repr(value)[1:-1],
    lambda value: base64.b64encode(value.encode()).decode().rstrip("="),
)


@given(values, st.text("xyzXYZ :=,", max_size=30), st.sampled_from(SPELLINGS))
def test_each_value_is_masked_in_each_spelling(secrets: list[str], around: str, spell: object) -> None:
    redactor = Redactor()
    secrets = [value for value in secrets if len(value) >= SHORTEST]
    for value in secrets:
        redactor.add(value.encode())
    for value in secrets:
        shown = spell(value)  # type: ignore[operator]  # one of the functions above
        assert redactor.clean(f"{around}{shown}{around}") == f"{around}{MASK}{around}"


@given(values, st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=30))
def test_the_index_is_that_of_the_values_that_are_left(secrets: list[str], steps: list[tuple[bool, int]]) -> None:
    redactor, known = Redactor(), set[bytes]()
    for is_added, number in steps:
        value = secrets[number % len(secrets)].encode() if secrets else b""
        if is_added:
            redactor.add(value)
            known.add(value)
        else:
            known.discard(value)
            redactor.retain(known)
        redactor.clean("text")
    fresh = Redactor()
    for value in known:
        fresh.add(value)
    fresh.clean("text")
    assert redactor._index._groups == fresh._index._groups
