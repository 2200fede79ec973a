"""
Environment files with quotes. A token is in a value, stands for a name, or is in a comment.

Their readers differ, so a value is tried in one spelling after the other, the template's own first, until all readers
of the dialect find the same in it. Where there is none, the value is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.render.formats.layout import Layout, Misfit, Site, Spelled, Unfit, comment_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from injector.render.formats.env_readers import Entries
    from injector.render.formats.layout import Item, Marked, Values

_ENTRY = re.compile(
    r"""[ \t]*(?:
      (?P<comment>[#;][^\n]*)
      |(?:export[ \t]+)?(?P<name>[^=\n#]*)=[ \t]*+
       (?:
         (?P<quoted>'[^']*'|"(?:[^"\\]++|\\.)*+")[ \t\r]*(?P<trailing>\#[^\n]*)?(?=\n|\Z)
         |(?P<bare>(?:[^\n\\]++|\\.?)*+)
       )
      |[^\n]*
    )(?:\n|\Z)""",
    re.DOTALL | re.VERBOSE,
)
_TRAILING = re.compile(r"[ \t]#")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_CALM = re.compile(r"[\w./:@%+,=?-]*\Z")  # without quotes there are more readers than are asked: `#`, `$` and the like
_EXPANDED = re.compile(r"\0(?:\$\{[^}]*|\$\w*|`[^`]*)")
_ESCAPED = re.compile(r"[\\\"]")
_ESCAPED_FOR_SHELL = re.compile(r"[\\\"$`]")


class Dialect(Struct, frozen=True):
    """
    Who reads a file. `whole` read it from end to end, `single` one assignment; those that cannot read what the
    template says do not count. `strict` ones want what the template says in quotes first.
    """

    whole: tuple[Callable[[str], Entries | None], ...]
    single: tuple[Callable[[str], Entries | None], ...] = ()
    strict: bool = False
    hint: str = ""


def lay_out(marked: Marked, dialect: Dialect) -> Layout:
    """A site for every value with tokens, and one for every token in a name or a comment."""
    return Layout(list(_sites(marked, dialect)), _template_outline(marked, dialect))


def outline(text: str, dialect: Dialect) -> list[Item]:
    """Names and values in order, as each reader of whole files finds them, and how many names there are."""
    items: list[Item] = []
    for reader in dialect.whole:
        entries = reader(text)
        if entries is None:
            raise Misfit(0, f"{_called(reader)} cannot read this")
        items += entries
        items.append(("end", str(len({name for name, _ in entries}))))
    return items


def _template_outline(marked: Marked, dialect: Dialect) -> list[Item]:
    if not dialect.strict:
        return outline(marked.text, dialect)
    # Values without quotes get them; for the outline they have them already.
    parts: list[str] = []
    copied = 0
    for entry in _entries(marked.text):
        value = marked.text[slice(*entry.value)]
        if value[:1] != "'" and marked.has_words(value):
            parts += (marked.text[copied : entry.value[0]], f"'{value}'")
            copied = entry.value[1]
    parts.append(marked.text[copied:])
    return outline("".join(parts), dialect)


class _Entry(Struct, frozen=True):
    """A line, or as many as its quotes take: where its parts are; a part that is not there is empty."""

    end: int
    name: tuple[int, int] = (0, 0)
    value: tuple[int, int] = (0, 0)
    comment: tuple[int, int] = (0, 0)


def _entries(text: str) -> Iterator[_Entry]:
    position = 0
    while position < len(text):
        match = _ENTRY.match(text, position)
        assert match is not None  # it matches any line
        position = match.end()
        if match["bare"] is not None:
            start, end = match.span("bare")
            comment = _TRAILING.search(text, start, end)
            cut = comment.start() + 1 if comment else end
            value = (start, start + len(text[start:cut].rstrip(" \t\r")))
            yield _Entry(position, match.span("name"), value, (cut, end))
        elif match["quoted"] is not None:
            yield _Entry(position, match.span("name"), match.span("quoted"), match.span("trailing"))
        else:
            yield _Entry(position, comment=match.span("comment"))


def _sites(marked: Marked, dialect: Dialect) -> Iterator[Site]:
    number = 0
    for entry in _entries(marked.text):
        first = number
        while number < len(marked.starts) and marked.starts[number] < entry.end:
            number += 1
        of_value: list[int] = []
        for each in range(first, number):
            start = marked.starts[each]
            if _is_in(entry.comment, start):
                if of_value:
                    yield _value_site(marked, dialect, entry, of_value)
                    of_value = []
                yield comment_site(marked, each)
            elif _is_in(entry.value, start):
                of_value.append(each)
            elif _is_in(entry.name, start):
                yield Site(start, start + marked.width, each, _name(each))
            else:
                raise Misfit(start, "this line has no '='", "write NAME= before the token, or [format=raw] behind it")
        if of_value:
            yield _value_site(marked, dialect, entry, of_value)


def _is_in(part: tuple[int, int], position: int) -> bool:
    return part[0] <= position < part[1]


def _name(number: int) -> Callable[[Values], Spelled]:
    def spell(values: Values) -> Spelled:
        if not _NAME.match(values[number]):
            raise Unfit(number, "the value is no name of a variable: letters, digits and underscores")
        return Spelled(values[number])

    return spell


def _value_site(marked: Marked, dialect: Dialect, entry: _Entry, numbers: list[int]) -> Site:
    source = marked.text[slice(*entry.value)]
    readings: list[tuple[Callable[[str], Entries | None], str]] = []
    for reader in (*dialect.whole, *dialect.single):
        reading = _read(reader, source)
        if reading is None and dialect.strict:
            reading = source
        if reading is not None:
            readings.append((reader, reading))

    if any(marked.has_words(match[0]) for _, reading in readings for match in _EXPANDED.finditer(reading)):
        start = marked.starts[numbers[0]]
        raise Misfit(
            start, "a token stands inside an expansion, or behind a $", "write it outside, or in single quotes"
        )

    def spell(values: Values) -> Spelled:
        for number in numbers:
            if "\0" in values[number]:
                raise Unfit(number, "an environment variable cannot hold a NUL character", "write [encoding=base64]")
        for spelled in _spellings(
            marked, dialect, source, [reading for _, reading in readings], values, [values[each] for each in numbers]
        ):
            if all(_read(reader, spelled) == marked.fill(reading, values) for reader, reading in readings):
                return Spelled(spelled)
        raise Unfit(
            numbers[0], "the value has no spelling here that all readers of such a file understand", dialect.hint
        )

    return Site(*entry.value, numbers[0], spell)


def _read(reader: Callable[[str], Entries | None], value: str) -> str | None:
    entries = reader(f"A={value}\n")
    return entries[0][1] if entries is not None and len(entries) == 1 and entries[0][0] == "A" else None


def _spellings(
    marked: Marked, dialect: Dialect, source: str, readings: list[str], values: Values, own: Values
) -> Iterator[str]:
    if source[:1] in {"'", '"'} or not dialect.single or all(_CALM.match(value) for value in own):
        yield marked.fill(source, values)
    if source.startswith('"'):
        for pattern in (_ESCAPED, _ESCAPED_FOR_SHELL):
            yield marked.pattern.sub(lambda match: _escape(pattern, values[int(match[1])]), source)  # noqa: B023
    if readings and len(set(readings)) == 1 and "\0" not in readings[0]:
        text = marked.fill(readings[0], values)
        yield f"'{text}'"
        for pattern in (_ESCAPED, _ESCAPED_FOR_SHELL):
            yield f'"{_escape(pattern, text)}"'


def _escape(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda match: "\\" + match[0], text)


def _called(reader: Callable[[str], Entries | None]) -> str:
    return reader.__name__.replace("_", "-")
