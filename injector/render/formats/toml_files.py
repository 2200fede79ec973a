"""TOML 1.0. A token is in a string of any of the four kinds, stands for a whole value or a key, or is in a comment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from injector.render.formats.json_values import SCALAR, string
from injector.render.formats.layout import Layout, Misfit, Quoted, Site, Spelled, comment_site

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.render.formats.layout import Item, Marked, Values

_PARTS = re.compile(
    r"""(?P<comment>\#[^\n]*)
    |(?P<lines>\"{3}(?:[^"\\]++|\\.|"(?!""))*+\"{3}\"{0,2})
    |(?P<literal_lines>'{3}(?:[^']++|'(?!''))*+'{3}'{0,2})
    |(?P<basic>"(?:[^"\\\n]++|\\.)*+")
    |(?P<literal>'[^'\n]*')""",
    re.DOTALL | re.VERBOSE,
)
_PLACE = re.compile(r"at line ([0-9]+), column ([0-9]+)")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_LITERAL = re.compile(
    "[\t\x20-\x26\x28-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]*\\Z"
)
_WHOLE_NUMBER = re.compile(r"-?[0-9]+\Z")
_LARGEST = 2**63  # beyond 64 bits readers differ


def lay_out(marked: Marked) -> Layout:
    """A site for every token, or for a whole literal string, which may have to become a basic one."""
    sites: list[Site] = []
    bare: list[int] = []
    parts = _PARTS.finditer(marked.text)
    part = next(parts, None)
    number = 0
    while number < len(marked.starts):
        start = marked.starts[number]
        while part is not None and part.end() <= start:
            part = next(parts, None)
        if part is None or part.start() > start:
            bare.append(number)
            sites.append(Site(start, start + marked.width, number, _bare(number)))
            number += 1
            continue
        kind = part.lastgroup or ""
        after = number
        while after < len(marked.starts) and marked.starts[after] < part.end():
            after += 1
        if kind.startswith("literal"):
            sites.append(Site(part.start(), part.end(), number, _literal(marked, part[0], number, after)))
        else:
            make = comment_site if kind == "comment" else _in_lines if kind == "lines" else _in_basic
            sites.extend(make(marked, each) for each in range(number, after))
        number = after
    quoted = Quoted(marked, bare)
    try:
        items = outline(quoted.text)
    except Misfit as misfit:
        misfit.position = quoted.original(misfit.position)
        raise
    keys = {number for item in items if item[0] == "key" for number in marked.tokens_in(item[1])}
    bare_keys = keys.intersection(bare)
    sites = [_as_key(site) if site.token in bare_keys else site for site in sites]
    return Layout(sites, items)


def outline(text: str) -> list[Item]:
    """Tables, keys and values in order; numbers as they are written, where that is known."""
    import tomllib  # late: start-up

    try:
        root = tomllib.loads(text, parse_float=_Float)
    except tomllib.TOMLDecodeError as error:
        raise Misfit(_position(text, str(error)), "this is not TOML") from None
    except (RecursionError, ValueError):
        raise Misfit(0, "this is nested too deeply, or a number has too many digits") from None
    items: list[Item] = []
    _add(root, items)
    return items


class _Float(str):
    __slots__ = ()


def _position(text: str, message: str) -> int:
    place = _PLACE.search(message)
    if place is None:
        return len(text)
    line, column = int(place[1]), int(place[2])
    position = 0
    for _ in range(line - 1):
        position = text.find("\n", position) + 1
    return position + column - 1


def _add(node: Any, items: list[Item]) -> None:
    match node:
        case dict():
            items.append(("table",))
            for key, value in node.items():
                items.append(("key", key))
                _add(value, items)
            items.append(("end",))
        case list():
            items.append(("list",))
            for value in node:
                _add(value, items)
            items.append(("end",))
        case _Float():
            items.append(("float", str(node)))
        case str():
            items.append(("text", node))
        case _:
            items.append((type(node).__name__, repr(node)))


def _in_basic(marked: Marked, number: int) -> Site:
    start = marked.starts[number]
    return Site(start, start + marked.width, number, lambda values: Spelled(string(values[number])[1:-1]))


def _in_lines(marked: Marked, number: int) -> Site:
    def spell(values: Values) -> Spelled:
        spelled = string(values[number])[1:-1]
        # A backslash at the end of the line before would take blanks for its own.
        return Spelled("\\u0020" + spelled[1:] if spelled.startswith(" ") else spelled)

    start = marked.starts[number]
    return Site(start, start + marked.width, number, spell)


def _literal(marked: Marked, source: str, first: int, after: int) -> Callable[[Values], Spelled]:
    def spell(values: Values) -> Spelled:
        if all(_LITERAL.match(value) for value in values[first:after]):
            return Spelled(marked.fill(source, values))
        quotes = 3 if source.startswith("'''") else 1
        content = source[quotes:-quotes].replace("\r\n", "\n")
        content = content.removeprefix("\n") if quotes > 1 else content
        return Spelled(string(marked.fill(content, values)))

    return spell


def _bare(number: int) -> Callable[[Values], Spelled]:
    def spell(values: Values) -> Spelled:
        value = values[number]
        if not _is_toml(value):
            return Spelled(string(value))
        # The root table, the key, the value, the end.
        return Spelled(value, tuple(outline(f"v={value}")[2:-1]))

    return spell


def _is_toml(value: str) -> bool:
    """Whether a number or boolean of JSON is one of TOML, too."""
    if not SCALAR.match(value) or value == "null" or len(value) > 1000:
        return False
    return not _WHOLE_NUMBER.match(value) or -_LARGEST <= int(value) < _LARGEST


def _as_key(site: Site) -> Site:
    def spell(values: Values) -> Spelled:
        value = values[site.token]
        return Spelled(value if _BARE_KEY.match(value) else string(value))

    return Site(site.start, site.end, site.token, spell)
