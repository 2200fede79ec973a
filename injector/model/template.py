"""
A template and the pieces that it is made of.

Everything is bytes: what is not a token is copied as it stands, whatever its encoding. Positions are offsets into
`Source.data`; `Source.place` turns one into line and column when, and only when, somebody must be told.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.errors import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from injector.errors import TemplateError
    from injector.model.references import Reference

_WINDOW = 60  # characters of the line shown on either side of the caret: fits a terminal with room for the margin


class Source(Struct, frozen=True):
    """
    A template's bytes and the name that messages call it by.

    `original` and `shifts` are set when `data` came from another text by substitution (envsubst): `shifts` is a
    sorted tuple of (offset in data, offset in original) that begins with (0, 0). Each replaced variable adds two: where
    its value ends with where the variable begins, beyond which nothing before it is placed, and where its value ends
    with where the variable ends, from which on the two run in step again.
    Places are always those of the original, since that is the file that the user can open.
    """

    name: str
    data: bytes
    original: bytes | None = None
    shifts: tuple[tuple[int, int], ...] = ()

    def place(self, start: int, end: int | None = None) -> Place:
        """The place of `data[start:end]`: its line and column in the original, and the line's text around it."""
        text = self.data if self.original is None else self.original
        offset = self._to_original(start)
        line_start = text.rfind(b"\n", 0, offset) + 1
        line_end = text.find(b"\n", offset)
        line_end = len(text) if line_end < 0 else line_end
        before = _decode(text[line_start:offset])
        length = 1 if end is None else max(1, min(self._to_original(end), line_end) - offset)
        marked = _decode(text[offset : offset + length])
        after = _decode(text[offset + length : min(line_end, offset + length + 4 * _WINDOW)])
        shown = before[-_WINDOW:]
        clipped = marked[: 2 * _WINDOW]
        excerpt = shown + clipped + (after[:_WINDOW] if len(clipped) == len(marked) else "")
        return Place(
            file=self.name,
            line=text.count(b"\n", 0, offset) + 1,
            column=len(before) + 1,
            excerpt=_printable(excerpt),
            caret=len(shown),
            length=max(1, len(clipped)),
        )

    def _to_original(self, offset: int) -> int:
        if not self.shifts:
            return offset
        index = bisect_right(self.shifts, (offset, len(self.original or b"") + 1)) - 1
        if index < 0:
            return offset
        here, there = self.shifts[index]
        # Inside a substituted value there is no step to keep: its place is that of the variable.
        limit = self.shifts[index + 1][1] if index + 1 < len(self.shifts) else len(self.original or b"")
        return min(there + offset - here, limit)


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _printable(text: str) -> str:
    # One character for one character, so that the caret stays under its token; no terminal control gets through.
    return "".join(
        char if char.isprintable() else " " if char in "\t\r" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


class Text(Struct, frozen=True, gc=False):
    """Bytes that are copied as they stand: `data[start:end]`."""

    start: int
    end: int


class Escape(Struct, frozen=True, gc=False):
    """A backslash that kept a token from being one: `data[start]` is dropped, `data[start + 1 : end]` is copied."""

    start: int
    end: int


class Token(Struct, frozen=True, gc=False):
    """
    A reference inside a template; `data[start:end]` is replaced by its value.

    `keys` is the key path or None. `optional`, `default`, `raw` and `encoding` (None, utf8,
    base64 or hex) come from the injector's own metadata names.
    """

    start: int
    end: int
    reference: Reference
    keys: str | None = None
    optional: bool = False
    default: str | None = None
    raw: bool = False
    encoding: str | None = None


Piece = Text | Escape | Token


class Template(Struct, frozen=True):
    """
    A scanned source. The pieces, laid end to end, cover `source.data` exactly, in order, without a gap.

    `problems` are the errors found while scanning; a template that has any is not rendered.
    """

    source: Source
    pieces: tuple[Piece, ...]
    problems: tuple[TemplateError, ...] = ()

    def tokens(self) -> Iterator[Token]:
        """The tokens in the order of the text."""
        return (piece for piece in self.pieces if isinstance(piece, Token))

    def text_of(self, piece: Piece) -> str:
        """The piece as it was written, for messages."""
        return _printable(_decode(self.source.data[piece.start : piece.end]))
