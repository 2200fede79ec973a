"""
Finds the tokens of a template.

Time is linear in the size of the text, whatever the text: token starts are found in one pass, no match reaches beyond
the start after it, and what is searched further ahead is remembered.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

from injector.errors import (
    EmptyKeyPath,
    EmptyPath,
    MetadataInvalid,
    MetadataUnclosed,
    TokenNotText,
    TokenUnclosed,
)
from injector.model.references import Reference
from injector.model.template import Escape, Template, Text, Token
from injector.template.lookahead import Ahead
from injector.template.metadata import Metadata, parse_metadata
from injector.template.problems import Problems

if TYPE_CHECKING:
    from collections.abc import Iterator

    from injector.errors import TemplateError
    from injector.model.template import Piece, Source
    from injector.template.grammar import Grammar, Patterns

_SLASH, _QUESTION, _OPEN, _CLOSE = b"/?[]"
_BLANKS = b" \t"
_MAY_END_OPENING = frozenset({b"{{", b"{ ", b"{\t", b"  ", b" \t", b"\t ", b"\t\t"})
_METADATA = re.compile(rb"[^\]\r\n]*")
_NO_METADATA = Metadata()


class _Opener(Enum):
    """What stands before a prefix and belongs to it."""

    NOTHING = auto()
    BACKSLASH = auto()
    BRACES = auto()


_Start: TypeAlias = tuple[int, int, str, _Opener]
"""Where a token or its escape begins, where its separator ends, its prefix, and how it is opened."""


def scan(source: Source, grammar: Grammar) -> Template:
    """
    The tokens, escapes and plain text of `source`, by the rules of `grammar`.

    Raises nothing, for any bytes: what is written wrongly is in the result's `problems`, placed, and remains text in
    its `pieces`. At most MAX_PROBLEMS are told, and one more that says how many there are besides.
    """
    return _Scan(source, grammar).run()


class _Scan:
    """One pass over one source."""

    def __init__(self, source: Source, grammar: Grammar) -> None:
        self._source = source
        self._data = source.data
        self._key_separator = grammar.key_separator
        self._patterns = grammar.patterns
        self._pieces: list[Piece] = []
        self._copied = 0
        self._problems = Problems(source)
        self._braces = Ahead(source.data, b"}}")
        self._line_feed = Ahead(source.data, b"\n")
        self._carriage_return = Ahead(source.data, b"\r")

    def run(self) -> Template:
        starts = _starts(self._data, self._patterns)
        size = len(self._data)
        start = next(starts, None)
        while start is not None:
            following = next(starts, None)
            end = self._read(start, size if following is None else following[0])
            # A delimited token may hold token starts; they mean nothing there.
            while following is not None and following[0] < end:
                following = next(starts, None)
            start = following
        self._text_until(size)
        return Template(self._source, tuple(self._pieces), self._problems.found())

    def _read(self, start: _Start, limit: int) -> int:
        """Takes what begins at `start` and returns where it ends; only a delimited token reads beyond `limit`."""
        begin, after, _, opener = start
        if opener is _Opener.NOTHING:
            return self._plain(start, limit)
        if opener is _Opener.BRACES:
            return self._delimited(start, limit)
        self._text_until(begin)
        self._pieces.append(Escape(begin, after))
        self._copied = after
        return after

    def _plain(self, start: _Start, limit: int) -> int:
        data, after = self._data, start[1]
        body = self._patterns.body.match(data, after, limit)
        assert body is not None  # it matches nothing, at the least
        end = body.end()
        stop = data[end] if end < limit else None
        if stop == _OPEN:
            return self._with_metadata(start, end, limit)
        if stop == _QUESTION and end > after and data[end - 1] == _SLASH:
            end -= 1
        self._token(start, end, data[after:end], None)
        return end

    def _with_metadata(self, start: _Start, bracket: int, limit: int) -> int:
        data = self._data
        metadata = _METADATA.match(data, bracket + 1, limit)
        assert metadata is not None  # it matches nothing, at the least
        end = metadata.end()
        if end == limit or data[end] != _CLOSE:
            self._problems.add(_unclosed_metadata(data[end : end + 1]), start[0], end)
            return end
        self._token(start, end + 1, data[start[1] : bracket], metadata[0])
        return end + 1

    def _delimited(self, start: _Start, limit: int) -> int:
        data, (begin, after, _, _) = self._data, start
        line_end = min(self._line_feed.of(after), self._carriage_return.of(after))
        close = self._braces.of(after)
        if close >= line_end:
            # Told up to the next token, which is read for itself.
            self._problems.add(_unclosed_token(), begin, min(limit, line_end))
            return after
        end = close + 2
        bracket = data.find(b"[", after, close)
        if bracket < 0:
            self._token(start, end, data[after:close].strip(_BLANKS), None)
            return end
        bracket_end = data.find(b"]", bracket, close)
        if bracket_end < 0:
            self._problems.add(_unclosed_metadata(b"}"), begin, end)
        elif data[bracket_end + 1 : close].strip(_BLANKS):
            self._problems.add(_text_after_metadata(), begin, end)
        else:
            self._token(start, end, data[after:bracket].strip(_BLANKS), data[bracket + 1 : bracket_end])
        return end

    def _token(self, start: _Start, end: int, body: bytes, metadata: bytes | None) -> None:
        """Takes the text from `start` to `end` as a token, or, if its parts are not right, as a problem."""
        begin, _, prefix, opener = start
        try:
            path, separator, keys = body.decode().partition(self._key_separator)
            own = _NO_METADATA if metadata is None else parse_metadata(metadata.decode())
        except UnicodeDecodeError:
            self._problems.add(_not_text(), begin, end)
            return
        except MetadataInvalid as error:
            self._problems.add(error, begin, end)
            return
        if opener is _Opener.BRACES:
            path, keys = path.rstrip(" \t"), keys.lstrip(" \t")
        if not path:
            self._problems.add(_empty_path(prefix), begin, end)
        elif separator and not keys:
            self._problems.add(_empty_keys(separator), begin, end)
        else:
            self._text_until(begin)
            reference = Reference(prefix, path, own.passed_on, own.connection)
            self._pieces.append(
                Token(
                    begin, end, reference, keys if separator else None, own.optional, own.default, own.raw, own.encoding
                )
            )
            self._copied = end

    def _text_until(self, end: int) -> None:
        if end > self._copied:
            self._pieces.append(Text(self._copied, end))


def _starts(data: bytes, patterns: Patterns) -> Iterator[_Start]:
    """All token starts in the order of the text, also those that a delimited token holds."""
    floor = 0
    prefixes = patterns.prefixes
    for match in patterns.start.finditer(data):
        index = match.lastindex or 0
        first = match.start(index)
        after = match.end()
        begin, opener = first, _Opener.NOTHING
        before = data[first - 2 : first] if first > 1 else data[:first]
        if before in _MAY_END_OPENING:
            opened = _without_blanks(data, floor, first)
            if data.endswith(b"{{", floor, opened):
                begin, opener = opened - 2, _Opener.BRACES
        elif before[-1:] == b"\\":
            begin, opener = first - 1, _Opener.BACKSLASH
        yield begin, after, prefixes[index], opener
        floor = after


def _without_blanks(data: bytes, floor: int, end: int) -> int:
    """Where the blanks that end at `end` begin. Looks at few bytes first: most often there are few."""
    width = 32
    while end > floor:
        low = max(floor, end - width)
        kept = data[low:end].rstrip(_BLANKS)
        if kept:
            return low + len(kept)
        end = low
        width *= 8
    return end


def _empty_path(prefix: str) -> TemplateError:
    return EmptyPath(
        f"{prefix} is asked for nothing: the path is empty",
        hint=f"write a path after the separator, or a backslash before {prefix} if no token is meant",
    )


def _empty_keys(separator: str) -> TemplateError:
    return EmptyKeyPath(
        f"nothing stands after the key separator {separator!r}",
        hint="write the key after it, or leave the separator out for the whole value",
    )


def _unclosed_metadata(stop: bytes) -> TemplateError:
    """The error for metadata that ran up to `stop`, or to the end of the text."""
    hint = "write ']' behind it, on the same line; text that holds a token start needs the form {{ … }}"
    if not stop:
        return MetadataUnclosed("the text ends inside a token's metadata", hint=hint)
    if stop in b"\r\n":
        return MetadataUnclosed("the line ends inside a token's metadata", hint=hint)
    if stop == b"}":
        return MetadataUnclosed("'}}' ends the token inside its metadata", hint="write ']' before '}}'")
    return MetadataUnclosed("another token starts inside a token's metadata", hint=hint)


def _unclosed_token() -> TemplateError:
    return TokenUnclosed(
        "'{{' opens a token that is not closed on its line", hint="write '}}' behind it on the same line"
    )


def _text_after_metadata() -> TemplateError:
    return MetadataInvalid("there is text between ']' and '}}'", hint="the metadata is the last part of a token")


def _not_text() -> TemplateError:
    return TokenNotText("a token holds bytes that are not UTF-8", hint="save the template as UTF-8")
