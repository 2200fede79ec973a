"""
What two plain texts differ in, told without what values hold.

Of a line only what stands in the template is shown; all else is a `Hidden`. So an old file shows nothing that came from
a store, whatever the values were when it was written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from injector.model.template import Escape, Token
from injector.render.difference import opcodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from injector.model.template import Template


class Hidden(Struct, frozen=True):
    """Bytes that are not to be shown."""

    data: bytes


Line: TypeAlias = "tuple[bytes | Hidden, ...]"
"""A line: the template's own text, and what is hidden."""


class LineChange(Struct, frozen=True):
    """A line that only one of the texts has; `number` counts from 1 in that text, `is_new` says in which."""

    number: int
    is_new: bool
    line: Line


class ValueChange(Struct, frozen=True):
    """Texts that differ in the values of tokens only: the token number `token` (from 0) has another one."""

    token: int
    before: bytes
    after: bytes


def value_changes(before: bytes, template: Template, values: Sequence[bytes]) -> list[ValueChange] | None:
    """The tokens of *template* that stand for something else in *before*; None when more than values differ."""
    old = between(before, literals(template))
    if old is None:
        return None
    pairs = enumerate(zip(old, values, strict=True))
    return [ValueChange(number, then, now) for number, (then, now) in pairs if then != now]


def line_changes(before: bytes, after: bytes, template: Template) -> list[LineChange]:
    """The lines that differ, in the order of *after*, those that are gone before those that came in their place."""
    patterns = _Patterns(template)
    old, new = before.split(b"\n"), after.split(b"\n")
    found: list[LineChange] = []
    for tag, start, end, after_start, after_end in opcodes(old, new):
        if tag != "equal":
            found += [LineChange(number + 1, False, patterns.shown(old[number])) for number in range(start, end)]  # noqa: FBT003
            found += [
                LineChange(number + 1, True, patterns.shown(new[number]))  # noqa: FBT003
                for number in range(after_start, after_end)
            ]
    return found


def literals(template: Template) -> list[bytes]:
    """The template's text around its tokens: one piece more than there are tokens."""
    parts = [b""]
    for piece in template.pieces:
        if isinstance(piece, Token):
            parts.append(b"")
        else:
            parts[-1] += template.source.data[piece.start + isinstance(piece, Escape) : piece.end]
    return parts


def between(text: bytes, pieces: Sequence[bytes]) -> list[bytes] | None:
    """What stands between *pieces* in *text*; None when it does not begin with the first and end with the last."""
    if len(pieces) == 1:
        return [] if text == pieces[0] else None
    end = len(text) - len(pieces[-1])
    position = len(pieces[0])
    if position > end or not text.startswith(pieces[0]) or not text.endswith(pieces[-1]):
        return None
    found: list[bytes] = []
    for piece in pieces[1:-1]:
        start = text.find(piece, position, end)
        if start < 0:
            return None
        found.append(text[position:start])
        position = start + len(piece)
    return [*found, text[position:end]]


class _Patterns:
    """The lines of a template: those without tokens, and what stands around the tokens of the others."""

    def __init__(self, template: Template) -> None:
        # Variables of the environment that were substituted are not the template's own text.
        self._own = template.source.data if template.source.original is None else template.source.original
        self._whole: set[bytes] = set()
        self._around: list[list[bytes]] = []
        line = [b""]
        for number, literal in enumerate(literals(template)):
            if number:
                line.append(b"")
            first, *more = literal.split(b"\n")
            line[-1] += first
            for text in more:
                self._add(line)
                line = [text]
        self._add(line)
        # The most of a line is shown by the pattern with the most text of its own.
        self._around.sort(key=lambda pieces: sum(map(len, pieces)), reverse=True)

    def _add(self, line: list[bytes]) -> None:
        if len(line) == 1:
            self._whole.add(line[0])
        elif line not in self._around:
            self._around.append(line)

    def shown(self, line: bytes) -> Line:
        if line in self._whole and line in self._own:
            return (line,) if line else ()
        for pieces in self._around:
            values = between(line, pieces)
            if values is not None and any(pieces):
                return tuple(self._woven(pieces, values))
        return (Hidden(line),)

    def _woven(self, pieces: Sequence[bytes], values: Sequence[bytes]) -> Iterator[bytes | Hidden]:
        for piece, value in zip(pieces, (*values, None), strict=True):
            if piece:
                yield piece if piece in self._own else Hidden(piece)
            if value is not None:
                yield Hidden(value)
