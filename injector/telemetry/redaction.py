"""
The registry of live secrets, and the one place where text is cleaned of them.

A value can show up as it is, one line of it, or inside JSON, a URL, a Python literal or base64 (also somewhere in the
middle of larger base64): each form is replaced by `***`. If it is JSON, its longer texts are values of their own.
Values shorter than `SHORTEST` are not looked for: replacing every `1` or `on` would destroy the log and tell more than
it hides. Decision 0081 says how, and what it costs.
"""

from __future__ import annotations

import contextlib
import threading
from bisect import bisect_right, insort
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from injector.errors import RunFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from injector.errors import InjectorError

SHORTEST: Final = 4
MASK: Final = "***"
_SHORTEST_PART: Final = 8  # of a line or a JSON text inside a value: `true` and `name:` are in every log
_PIECE: Final = 4096  # longer forms are looked for piece by piece, so that no comparison is long
_CUT: Final = 32  # so much of a form's beginning is taken for the form, cut by whoever wrote the line; at its end less
_MOST_PARTS: Final = 1_000
_EVERY_FORM_UP_TO: Final = 64 * 1024  # bytes of a value; of a longer one the likely forms only
_DEEPEST_JSON: Final = 3  # an answer that is JSON, logged as a field, in a line of JSON that is logged as a text
_URL_ALPHABET: Final = bytes.maketrans(b"+/", b"-_")


class Redactor:
    """
    Knows the live values of a run; `clean` masks them. Safe to use from any thread.

    Values are kept as they come and their forms are worked out when the first line must be cleaned: most renders
    write no line at all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[bytes] = set()
        self._pending: set[bytes] = set()  # of `_values`: not in the index yet
        self._index = _Index()

    def add(self, value: bytes) -> None:
        """Registers a secret's bytes."""
        if len(value) < SHORTEST:
            return
        with self._lock:
            if value not in self._values:
                self._values.add(value)
                self._pending.add(value)

    def retain(self, values: Iterable[bytes]) -> None:
        """Forgets every value that is not among *values*; adds none."""
        with self._lock:
            for value in self._values - set(values):
                self._values.discard(value)
                if value in self._pending:
                    self._pending.discard(value)
                else:
                    self._index.remove(_forms(value))

    def clear(self) -> None:
        """Forgets all values."""
        with self._lock:
            self._values.clear()
            self._pending.clear()
            self._index = _Index()

    def clean(self, text: str) -> str:
        """*text* with every known value masked; the longest form wins where two overlap."""
        with self._lock:
            if not self._values:
                return text
            while self._pending:
                self._index.add(_forms(self._pending.pop()))
            return self._index.mask(text)


def scrub(error: InjectorError, redactor: Redactor) -> None:
    """
    Takes known values out of what *error* says, and lets go of the exceptions that it came from.

    A plugin's own words may be part of a message. `from None` hides where an error came from and keeps it: a
    JSONDecodeError has the whole document.
    """
    error.message = redactor.clean(error.message)
    error.hint = redactor.clean(error.hint) if error.hint is not None else None
    error.args = tuple(redactor.clean(part) if isinstance(part, str) else part for part in error.args)
    error.__cause__ = error.__context__ = None
    for single in error.errors if isinstance(error, RunFailed) else ():
        scrub(single, redactor)


class _Index:
    """
    The forms by their first `SHORTEST` characters, each group sorted.

    A text is gone through once, with one look into a set for each character. Only where a group's beginning stands is
    that group searched, by bisection: time grows with the text, and hardly with the number of forms.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()  # several values may have a form in common
        self._groups: dict[str, list[str]] = {}

    def add(self, forms: Iterable[str]) -> None:
        for form in forms:
            self._counts[form] += 1
            if self._counts[form] == 1:
                insort(self._groups.setdefault(form[:SHORTEST], []), form)

    def remove(self, forms: Iterable[str]) -> None:
        for form in forms:
            self._counts[form] -= 1
            if self._counts[form] == 0:
                del self._counts[form]
                group = self._groups[form[:SHORTEST]]
                del group[bisect_right(group, form) - 1]
                if not group:
                    del self._groups[form[:SHORTEST]]

    def mask(self, text: str) -> str:
        groups = self._groups
        parts: list[str] = []
        done = at = 0  # before `done` all is in `parts`
        last = len(text) - SHORTEST
        while at <= last:
            group = groups.get(text[at : at + SHORTEST])
            length = _longest(group, text[at : at + _PIECE + SHORTEST]) if group is not None else 0
            if not length:
                at += 1
                continue
            if at > done or not parts:  # two that touch are one mask: a long form comes in pieces
                parts += (text[done:at], MASK)
            at += length
            done = at
        parts.append(text[done:])
        return "".join(parts)


def _longest(group: list[str], text: str) -> int:
    """How many characters at the start of *text* are one of the sorted *group*, or the beginning of a long one."""
    place = bisect_right(group, text)
    cut = max((_common(text, near) for near in group[max(0, place - 1) : place + 1]), default=0)
    if cut < _CUT and not (cut == len(text) and cut >= _SHORTEST_PART):  # neither long nor cut where the text ends
        cut = 0
    rest = text
    while place:
        near = group[place - 1]
        if rest.startswith(near):
            return max(len(near), cut)
        # A form that starts `rest` also starts whatever stands between the two.
        rest = rest[: _common(rest, near)]
        place = bisect_right(group, rest)
    return cut


def _common(one: str, other: str) -> int:
    """How many characters two texts have in common at their start."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _forms(value: bytes) -> set[str]:
    """How *value* could be printed, in pieces of at most `_PIECE` characters; always the same for the same value."""
    whole = value.decode("utf-8", "replace").strip()  # a trailing line break is often cut before a value is printed
    forms = set(_spellings(whole, every=len(value) <= _EVERY_FORM_UP_TO))
    if len(whole) < SHORTEST or value != whole.encode("utf-8", "replace"):  # else `_spellings` has them
        forms |= set(_base64(value))
    for part in _parts(whole):
        forms |= set(_spellings(part, every=True))
    return {piece for form in forms for piece in _pieces(form)}


def _spellings(text: str, *, every: bool) -> Iterator[str]:
    import json  # late: most renders write no line
    import urllib.parse

    if len(text) < SHORTEST:
        return
    yield text
    plain = text.isascii() and "\x7f" not in text  # then both ways to escape give the same
    for ascii_only in (True,) if plain else (True, False):
        escaped = text
        for _ in range(_DEEPEST_JSON):
            before = escaped
            once = json.dumps(before)[1:-1]
            escaped = once if ascii_only else json.dumps(before, ensure_ascii=False)[1:-1]
            yield from {once, escaped}
            if escaped == before:  # there is nothing to escape, however often
                break
    yield text.replace("\r", "\\r").replace("\n", "\\n")
    yield from _base64(text.encode("utf-8", "replace"))
    if every:
        yield repr(text)[1:-1]
        yield repr(text.encode("utf-8", "replace"))[2:-1]
        yield urllib.parse.quote(text, safe="")
        if "/" in text:
            yield urllib.parse.quote(text)
        if " " in text:
            yield urllib.parse.quote_plus(text)


def _base64(data: bytes) -> Iterator[str]:
    """Both alphabets; alone, and as it looks behind 0, 1 or 2 bytes of something else, without the shared edges."""
    import base64  # late: most renders write no line

    if len(data) < SHORTEST:
        return
    for before in range(3):
        start = (before * 8 + 5) // 6
        end = (before + len(data)) * 8 // 6
        encoded = base64.b64encode(bytes(before) + data)
        for spelled in (encoded, encoded.translate(_URL_ALPHABET)):
            if not before:
                yield spelled.rstrip(b"=").decode()
            if end - start >= SHORTEST:
                yield spelled[start:end].decode()


def _parts(text: str) -> set[str]:
    """The lines of a text of several, and the longer texts in it if it is JSON."""
    parts: set[str] = set()
    lines = text.splitlines()
    if len(lines) > 1:
        parts.update(line.strip() for line in lines[:_MOST_PARTS])
    if text[:1] in ("{", "[") and len(text) <= _EVERY_FORM_UP_TO:
        import json  # late: most renders write no line

        with contextlib.suppress(ValueError, RecursionError):  # not JSON after all
            parts.update(_leaves(json.loads(text)))
    return {part for part in parts if len(part) >= _SHORTEST_PART}


def _leaves(document: Any) -> Iterator[str]:
    left, found = [document], 0
    while left and found < _MOST_PARTS:
        item = left.pop()
        if isinstance(item, str):
            found += 1
            yield item.strip()
        elif isinstance(item, dict):
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)


def _pieces(form: str) -> Iterator[str]:
    for start in range(0, len(form), _PIECE):
        if len(form) - start < _PIECE + SHORTEST:
            yield form[start:]  # no rest that is too short to be found
            return
        yield form[start : start + _PIECE]
