"""JSON (RFC 8259). A token is in a string, or stands for a whole value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from injector.render.formats.json_values import as_items, is_scalar_text, string
from injector.render.formats.layout import Layout, Misfit, Quoted, Site, Spelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.render.formats.layout import Item, Marked, Values

_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_AROUND = frozenset("[]{},: \t\r\n")


def lay_out(marked: Marked) -> Layout:
    """A site for every token; a token outside strings must be all of a value."""
    sites: list[Site] = []
    bare: list[int] = []
    strings = _STRING.finditer(marked.text)
    inside = next(strings, None)
    for number, start in enumerate(marked.starts):
        end = start + marked.width
        while inside is not None and inside.end() <= start:
            inside = next(strings, None)
        if inside is not None and inside.start() < start:
            sites.append(Site(start, end, number, _in_string(number)))
            continue
        _refuse_part(marked.text, start, end)
        sites.append(Site(start, end, number, _bare(number)))
        bare.append(number)
    quoted = Quoted(marked, bare)
    try:
        return Layout(sites, outline(quoted.text))
    except Misfit as misfit:
        misfit.position = quoted.original(misfit.position)
        raise


def outline(text: str) -> list[Item]:
    """Every value in the order of the text; numbers as they are written."""
    return as_items(text)


def _refuse_part(text: str, start: int, end: int) -> None:
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    if (before and before not in _AROUND) or (after and after not in _AROUND):
        raise Misfit(start, "a token outside quotes is only a part of a value", "put quotes around the whole of it")


def _in_string(number: int) -> Callable[[Values], Spelled]:
    return lambda values: Spelled(string(values[number])[1:-1])


def _bare(number: int) -> Callable[[Values], Spelled]:
    def spell(values: Values) -> Spelled:
        value = values[number]
        if is_scalar_text(value):
            return Spelled(value, (("plain", value),))
        if value.lstrip(" \t\r\n")[:1] in {"{", "["}:
            try:
                return Spelled(value, tuple(as_items(value)))
            except Misfit:
                return Spelled(string(value))
        return Spelled(string(value))

    return spell
