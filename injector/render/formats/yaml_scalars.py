"""
How a YAML scalar is spelled so that every reader, of YAML 1.1 or 1.2, takes it for the same text.

A style is kept where it can carry the text; otherwise the scalar becomes a double-quoted one, which can carry all.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from injector.render.formats.json_values import SCALAR, as_items, string
from injector.render.formats.layout import Misfit

if TYPE_CHECKING:
    from injector.render.formats.layout import Item

# What some reader takes for null, a boolean, a number, a date or a merge key.
_NO_TEXT = re.compile(
    r"(?:|~|=|<<|null|y|n|yes|no|on|off|true|false|[-+]?\.(?:inf|nan)|[-+]?\.?[0-9][0-9a-fox_.,:+\-tz ]*)\Z",
    re.IGNORECASE,
)
_DOTTED = re.compile(r"[0-9]+(?:\.[0-9]+){2,}\Z")  # addresses and versions: no number has two points
_PRINTABLE = re.compile("[\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]+\\Z")
_PLAIN_START = re.compile(r"(?!---|\.\.\.)(?:-[^\s,\[\]{}]|[^\s\-?:,\[\]{}#&*!|>'\"%@`])")
_PLAIN_BREAK = re.compile(r": |:\Z| #|\s\Z")
_FLOW_BREAK = re.compile(r"[,\[\]{}:?]")
_HEADER = re.compile(r"([|>])([-+1-9]*)([^\n]*)\n")
_BLANK_LINE = re.compile(r"^[ \t]+$", re.MULTILINE)
_LONGEST_KEY = 1000  # characters: YAML's own limit for a key on one line is 1,024


def is_no_text(plain: str) -> bool:
    """Whether some reader takes the plain scalar for something else than a text."""
    return bool(_NO_TEXT.match(plain)) and not _DOTTED.match(plain)


def is_calm(value: str) -> bool:
    """Whether the value can stand in a folded text as its words do: on one line, no blanks at its ends."""
    return bool(_PRINTABLE.match(value)) and value.strip() == value


def plain(text: str, *, in_flow: bool) -> str:
    """The spelling at a plain scalar's place: as it is if it reads back, or is a number or name of JSON."""
    if SCALAR.match(text):
        return text
    safe = _PRINTABLE.match(text) and _PLAIN_START.match(text) and not _PLAIN_BREAK.search(text)
    if not safe or is_no_text(text) or (in_flow and _FLOW_BREAK.search(text)):
        return string(text)
    return text


def single_quoted(text: str) -> str:
    """In single quotes if they can carry it."""
    return "'" + text.replace("'", "''") + "'" if _PRINTABLE.match(text) else string(text)


def is_key_too_long(spelled: str) -> bool:
    return len(spelled) > _LONGEST_KEY


def literal(text: str, source: str, value: str) -> str:
    """
    The spelling of *text* in the place of a literal scalar whose source is *source* and whose text was *value*.

    Indentation stays, and how the end is chomped is written anew. What no literal can carry becomes double-quoted.
    """
    header = _HEADER.match(source)
    assert header is not None
    body = text.rstrip("\n")
    breaks = len(text) - len(body)
    indent = _indentation(source[header.end() :], value)
    explicit = header[2].strip("+-")
    after = len(source) - len(source.rstrip("\n"))
    first = body.lstrip("\n")[:1]
    if (
        not body
        or not indent
        or not all(_PRINTABLE.match(line.replace("\t", " ")) for line in body.split("\n") if line)
        or (first in {" ", "\t"} and not explicit)
        or _BLANK_LINE.search(body)
    ):
        return string(text) + header[3] + "\n" * max(after, 1)
    chomping = "-" if breaks == 0 else "" if breaks == 1 else "+"
    lines = "\n".join(indent + line if line else "" for line in body.split("\n"))
    return f"|{explicit}{chomping}{header[3]}\n{lines}" + "\n" * (breaks if chomping == "+" else max(after, 1))


def _indentation(body: str, value: str) -> str:
    """The blanks before each line: those in the source, less those that are text."""
    written = next(line for line in body.split("\n") if line.strip())
    read = next(line for line in value.split("\n") if line.strip())
    return " " * ((len(written) - len(written.lstrip(" "))) - (len(read) - len(read.lstrip(" "))))


def folded_as_quoted(text: str, source: str) -> str:
    """The double-quoted spelling of *text* in the place of a folded scalar."""
    header = _HEADER.match(source)
    assert header is not None
    return string(text) + header[3] + "\n" * max(len(source) - len(source.rstrip("\n")), 1)


def flow(value: str) -> tuple[str, tuple[Item, ...]] | None:
    """An object or list of JSON on one line and what is read of it; None when *value* is neither."""
    if value.lstrip(" \t\r\n")[:1] not in {"{", "["}:
        return None
    try:
        items = as_items(value)
    except Misfit:
        return None
    if any(item[0] == "key" and is_key_too_long(string(item[1])) for item in items):
        return None
    items = [("plain", _with_point(item[1])) if item[0] == "plain" else item for item in items]
    return _flow_text(items), tuple(_as_yaml(items))


def _with_point(number: str) -> str:
    """`1e5` as `1.0e+5`: for YAML 1.1 the former is no number."""
    digits, exponent, power = number.lower().partition("e")
    if not exponent or number in {"true", "false"}:
        return number
    return f"{digits if '.' in digits else digits + '.0'}e{power if power[0] in '+-' else '+' + power}"


def _flow_text(items: list[Item]) -> str:
    parts: list[str] = []
    closing: list[str] = []
    for item in items:
        kind = item[0]
        if kind == "end":
            parts.append(closing.pop())
            continue
        if parts and parts[-1] not in {"{", "[", ": "}:
            parts.append(", ")
        if kind in {"object", "list"}:
            parts.append("{" if kind == "object" else "[")
            closing.append("}" if kind == "object" else "]")
        elif kind == "key":
            parts += (string(item[1]), ": ")
        else:
            parts.append(item[1] if kind == "plain" else string(item[1]))
    return "".join(parts)


def _as_yaml(items: list[Item]) -> list[Item]:
    kinds = {"object": "map", "list": "list"}
    return [
        (kinds[item[0]], "", "")
        if item[0] in kinds
        else item
        if item[0] == "end"
        else ("text" if item[0] == "key" else item[0], item[1], "", "")
        for item in items
    ]
