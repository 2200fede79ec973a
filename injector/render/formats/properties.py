"""Java properties, as java.util.Properties reads them. A token is in a key, in a value or in a comment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.render.formats.layout import Layout, Misfit, Site, Spelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from injector.render.formats.layout import Item, Marked, Values

_LINE = re.compile(
    r"[ \t\f]*(?:(?P<comment>[#!][^\r\n]*)|(?P<entry>(?:[^\\\r\n]++|\\\r\n|\\.)*+))(?P<odd>\\?)(?:\r\n|\r|\n|\Z)",
    re.DOTALL,
)
_BLANK = r"(?:[ \t\f]|\\(?:\r\n|\r|\n)[ \t\f]*)*"
_ENTRY = re.compile(rf"(?P<key>(?:[^\\=: \t\f]++|\\\r\n|\\.)*+)(?P<separator>{_BLANK}[=:]?{_BLANK})", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:(?:\r\n|\r|\n)[ \t\f]*|u([0-9A-Fa-f]{4})|(.?))", re.DOTALL)
_MEANS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_NAMED = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
_SPELL = re.compile(r"[^\x20-\x5b\x5d-\x7e]")
_SPELL_IN_KEY = re.compile(r"[^\x22-\x39\x3b\x3c\x3e-\x5b\x5d-\x7e]|#")
_MAY_NOT_LEAD = frozenset(" =:#!")


class _Line(Struct, frozen=True):
    """An entry or a comment: where it starts, where its key ends, where its value starts, where it ends."""

    start: int
    key_end: int
    value: int
    end: int
    is_comment: bool


def lay_out(marked: Marked) -> Layout:
    """A site for every token."""
    sites: list[Site] = []
    lines = _lines(marked.text)
    line = next(lines, None)
    for number, start in enumerate(marked.starts):
        while line is not None and line.end <= start:
            line = next(lines, None)
        assert line is not None  # a word is in some line
        if not line.is_comment and _is_escaped(marked.text, start):
            raise Misfit(start, "the backslash before the token would change the value's first character")
        spell = _comment if line.is_comment else _key if start < line.key_end else _value
        sites.append(Site(start, start + marked.width, number, _speller(spell, number)))
    return Layout(sites, outline(marked.text))


def outline(text: str) -> list[Item]:
    """Keys and values in order, and how many different keys there are."""
    items: list[Item] = []
    for line in _lines(text):
        if line.is_comment:
            continue
        key = _read(text, line.start, line.key_end)
        items.append((key, _read(text, line.value, line.end)))
    items.append(("end", str(len({item[0] for item in items}))))
    return items


def _is_escaped(text: str, position: int) -> bool:
    before = position
    while before and text[before - 1] == "\\":
        before -= 1
    return bool((position - before) % 2)


def _lines(text: str) -> Iterator[_Line]:
    position = 0
    while position < len(text):
        match = _LINE.match(text, position)
        assert match is not None  # it matches anything
        position = match.end() if match.end() > position else len(text)
        if match["comment"] is not None:
            yield _Line(match.start("comment"), match.end("comment"), match.end("comment"), match.end("comment"), True)  # noqa: FBT003
        elif match["entry"]:
            entry = _ENTRY.match(text, match.start("entry"), match.end("entry"))
            assert entry is not None  # it matches anything
            yield _Line(match.start("entry"), entry.end("key"), entry.end(), match.end("entry"), False)  # noqa: FBT003


def _read(text: str, start: int, end: int) -> str:
    def meaning(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        if match[2] == "u":
            raise Misfit(start + match.start(), "\\u is not followed by four hexadecimal digits")
        return _MEANS.get(match[2] or "", match[2] or "")

    read = _ESCAPE.sub(meaning, text[start:end])
    # Characters beyond the first plane come as two escapes.
    return (
        read.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") if "\\u" in text[start:end] else read
    )


def _speller(spell: Callable[[str], str], number: int) -> Callable[[Values], Spelled]:
    return lambda values: Spelled(spell(values[number]))


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    if char in _NAMED:
        return _NAMED[char]
    if " " <= char <= "~":
        return "\\" + char
    return "".join(f"\\u{unit:04x}" for unit in memoryview(char.encode("utf-16-le")).cast("H"))


def _value(value: str) -> str:
    spelled = _SPELL.sub(_escaped, value)
    return "\\" + spelled if spelled[:1] in _MAY_NOT_LEAD and spelled else spelled


def _key(value: str) -> str:
    return _SPELL_IN_KEY.sub(_escaped, value)


def _comment(value: str) -> str:
    return _SPELL.sub(lambda match: match[0] if match[0] in {"\\", "\t"} else _escaped(match), value)
