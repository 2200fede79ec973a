"""Environment files as `docker run --env-file` reads them: no quotes, no escapes, all behind `=` is the value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from injector.render.formats.layout import Layout, Misfit, Site, Spelled, Unfit, comment_site

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.render.formats.layout import Item, Marked, Values

_NOT_IN_VALUE = re.compile(r"[\0\n\r]")
_NAME = re.compile(r"[^\s=#\0][^\s=\0]*\Z")
_LONGEST = 64 * 1024 - 1  # bytes of a line that docker reads, its line break among them
_BASE64 = "write [encoding=base64] behind the token"


def lay_out(marked: Marked) -> Layout:
    """A site for every token."""
    sites: list[Site] = []
    for number, start in enumerate(marked.starts):
        line = marked.text.rfind("\n", 0, start) + 1 if not sites else _line_start(marked, sites[-1], start)
        before = marked.text[line:start].lstrip()
        if before.startswith("#"):
            sites.append(comment_site(marked, number))
        elif "=" in before:
            sites.append(Site(start, start + marked.width, number, _value(number)))
        elif marked.text.find("=", start, _line_end(marked.text, start)) >= 0:
            sites.append(Site(start, start + marked.width, number, _name(number)))
        else:
            raise Misfit(start, "this line has no '='", "write NAME= before the token, or [format=raw] behind it")
    return Layout(sites, outline(marked.text))


def outline(text: str) -> list[Item]:
    """Names and values in order, and how many names there are."""
    items: list[Item] = []
    position = 0
    for line in text.split("\n"):
        name, equals, value = line.removesuffix("\r").lstrip().partition("=")
        if not name.startswith("#") and (name or equals):
            if not name or any(char.isspace() for char in name):
                raise Misfit(position, "docker refuses this line: its name is empty or has blanks")
            if len(line.encode()) > _LONGEST:
                raise Misfit(position, "docker refuses lines of 64 KiB and more")
            items.append((name, value) if equals else (name,))
        position += len(line) + 1
    items.append(("end", str(len({item[0] for item in items}))))
    return items


def _line_start(marked: Marked, last: Site, start: int) -> int:
    # From the token before on: a long line is not read again for each of its tokens.
    found = marked.text.rfind("\n", last.start, start)
    return found + 1 if found >= 0 else marked.text.rfind("\n", 0, last.start) + 1


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _value(number: int) -> Callable[[Values], Spelled]:
    def spell(values: Values) -> Spelled:
        value = values[number]
        if _NOT_IN_VALUE.search(value):
            raise Unfit(number, "docker's --env-file has no spelling for line breaks and NUL", _BASE64)
        if len(value.encode()) > _LONGEST:
            raise Unfit(number, "the value is too long: docker's --env-file has lines below 64 KiB")
        return Spelled(value)

    return spell


def _name(number: int) -> Callable[[Values], Spelled]:
    def spell(values: Values) -> Spelled:
        if not _NAME.match(values[number]):
            raise Unfit(number, "the value is no name of a variable: it is empty, or has blanks, '=' or a leading '#'")
        return Spelled(values[number])

    return spell
