"""
INI files, as configparser reads them. A token is in a section's name, an option, a value or a comment.

There are no quotes and no escapes that all readers share, and some replace `%` and `$`. What not every one of them
reads alike is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from injector.render.formats.layout import Layout, Misfit, Site, Spelled, Unfit, comment_site

if TYPE_CHECKING:
    from collections.abc import Callable
    from configparser import RawConfigParser

    from injector.render.formats.layout import Item, Marked, Values

_LINE = re.compile(
    r"[ \t]*(?:(?P<comment>[#;][^\n]*)|(?P<section>\[[^\n]*)|(?P<option>[^=:\n]*)(?P<value>[=:][^\n]*)?)(?:\n|\Z)"
)
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_BLANK = re.compile(r"[ \t]*")
_END = re.compile(r"[ \t\r]*(?:\n|\Z)")
_NO_SECTION = "\ue000"
_RAW = "write [encoding=base64] behind the token, or [format=raw] if its reader takes it as it is"
_NO_NAME = re.compile(r"[\[\]=:#;\n]")


def lay_out(marked: Marked) -> Layout:
    """A site for every token."""
    sites: list[Site] = []
    lines = _LINE.finditer(marked.text)
    line = next(lines, None)
    for number, start in enumerate(marked.starts):
        while line is not None and line.end() <= start:
            line = next(lines, None)
        assert line is not None  # a word is in some line
        if line.start("comment") >= 0:
            sites.append(comment_site(marked, number))
            continue
        in_value = line.start("value") >= 0 and start > line.start("value")
        indented = line["value"] is None and line[0][:1] in {" ", "\t"}
        spell = _value(marked, number, line) if in_value or indented else _name(number)
        sites.append(Site(start, start + marked.width, number, spell))
    return Layout(sites, outline(marked.text))


def outline(text: str) -> list[Item]:
    """Sections, options and values; whether anything is there twice."""
    import configparser  # late: start-up

    strict = "strict"
    try:
        parser = _parsed(text, strict=True)
    except (configparser.Error, AttributeError):  # the latter is its answer to lines that go on from nothing
        strict = "not strict"
        try:
            parser = _parsed(text, strict=False)
        except configparser.ParsingError as error:
            line = min((number for number, _ in error.errors), default=1)
            raise Misfit(_offset(text, line), "this is not INI: neither a section nor an option") from None
        except (configparser.Error, AttributeError):
            raise Misfit(0, "this is not INI") from None
    items: list[Item] = [(strict,)]
    for section in parser.sections():
        items.append(("section", section))
        options = cast("list[tuple[str, str | None]]", parser.items(section))
        items += [("option", name, "\0" if value is None else value) for name, value in options]
    return items


def _parsed(text: str, *, strict: bool) -> RawConfigParser:
    import configparser  # late: start-up

    def read(content: str) -> RawConfigParser:
        parser = configparser.RawConfigParser(strict=strict, allow_no_value=True, default_section="\ue001")
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # as configparser's own page does it
        parser.read_string(content)
        return parser

    try:
        return read(text)
    except configparser.MissingSectionHeaderError:
        return read(f"[{_NO_SECTION}]\n{text}")


def _offset(text: str, line: int) -> int:
    position = 0
    for _ in range(line - 1):
        position = text.find("\n", position) + 1
    return position


def _value(marked: Marked, number: int, line: re.Match[str]) -> Callable[[Values], Spelled]:
    start = marked.starts[number]
    blank = _BLANK.match(marked.text, max(line.start("value") + 1, line.start()))
    begin = blank.end() if blank else start
    first, last = begin == start, _END.match(marked.text, start + marked.width) is not None
    quote = marked.text[begin] if marked.text[begin] in {'"', "'"} else ""

    def spell(values: Values) -> Spelled:
        value = values[number]
        reason = _reason(value, first=first, last=last, quote=quote)
        if reason:
            raise Unfit(number, f"INI has no spelling for this value that every reader takes: {reason}", _RAW)
        return Spelled(value)

    return spell


def _reason(value: str, *, first: bool, last: bool, quote: str) -> str:
    if _CONTROL.search(value):
        return "it has line breaks or controls"
    if (first and value != value.lstrip()) or (last and value != value.rstrip()):
        return "it begins or ends with blanks"
    if "%" in value or "${" in value:
        return "it has % or ${, which some replace"
    if value[:1] in {"#", ";"} or re.search(r"\s[#;]", value):
        return "it has # or ; where a comment can begin"
    if quote and (quote in value or "\\" in value):
        return "it has quotes or a backslash inside quotes"
    if first and value[:1] in {'"', "'", "`"}:
        return "it begins with a quote"
    if last and value.endswith("\\"):
        return "it ends with a backslash"
    return ""


def _name(number: int) -> Callable[[Values], Spelled]:
    def spell(values: Values) -> Spelled:
        value = values[number]
        if not value or _CONTROL.search(value) or _NO_NAME.search(value) or value != value.strip() or "%" in value:
            raise Unfit(number, "the value is no name of a section or an option")
        return Spelled(value)

    return spell
