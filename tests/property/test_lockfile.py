"""Any lock survives being written and read."""

from __future__ import annotations

import string

import yaml
from hypothesis import given
from hypothesis import strategies as st

from injector.backends.lockfile import Lock, LockEntry, format_lock, parse_lock

WORDS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True) | st.sampled_from(["on", "no", "y", "null", "nan"])
PLATFORMS = st.builds("{}-{}".format, WORDS, WORDS) | st.just("wasm")
URLS = st.builds("https://{}".format, st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
DIGITS = st.text("0123456789abcdef", min_size=64, max_size=64) | st.text("0123456789", min_size=64, max_size=64)
ENTRIES = st.builds(LockEntry, DIGITS, st.integers(0, 10**15 - 1), st.none() | URLS)


@given(st.dictionaries(st.tuples(NAMES, PLATFORMS), ENTRIES, max_size=8))
def test_a_lock_is_read_as_it_was_written_and_its_text_does_not_depend_on_the_order(entries) -> None:
    text = format_lock(Lock(entries))
    assert parse_lock(text, "lock") == Lock(entries)
    assert format_lock(Lock(dict(reversed(entries.items())))) == text
    assert set(yaml.safe_load(text)["plugins"]) == {name for name, _ in entries}
