"""
What every format says of a template: where values go, how they are spelled there, and what a reader will find.

A format sees the template's text with a word in the place of every token: letters and digits, nothing that means
anything to any format. It answers with sites and an outline:

- A site is a stretch of that text that is replaced by what its `spell` makes of the values: the word itself where only
  the value is spelled, or a whole scalar where the spelling of all of it may depend on the value.
- An outline is what a real parser of the format reads, as a flat list of tuples of texts, with the words in it. A file
  is right when its own outline is that of its template with the values in the place of the words.

Positions are offsets into the text, in characters.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Item: TypeAlias = "tuple[str, ...]"
Values: TypeAlias = "Sequence[str]"

_DIGITS = 8


class Misfit(Exception):
    """The text is not of the format at *position*; *reason* and *hint* are for people and hold none of the text."""

    def __init__(self, position: int, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.position = position
        self.reason = reason
        self.hint = hint


class Unfit(Exception):
    """The value of the token number *token* has no spelling at its place."""

    def __init__(self, token: int, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.token = token
        self.reason = reason
        self.hint = hint


class Marked:
    """
    A template's text with words in the place of its tokens: `text[starts[n] : starts[n] + width]` is the word of
    token n. *salt* (letters) makes the words differ from everything else in the text.
    """

    def __init__(self, text: str, starts: Sequence[int], salt: str) -> None:
        self.text = text
        self.starts = starts
        self._head = f"Z{salt}"
        self.width = len(self._head) + _DIGITS + 1
        self.pattern = re.compile(re.escape(self._head) + r"([0-9]{8})Z")

    def word(self, number: int) -> str:
        return mark(self._head[1:], number)

    def tokens_in(self, text: str) -> Iterator[int]:
        """The numbers of the tokens whose words are in *text*, in order."""
        return (int(match[1]) for match in self.pattern.finditer(text))

    def has_words(self, text: str) -> bool:
        return self._head in text

    def fill(self, text: str, values: Values) -> str:
        """*text* with values for words."""
        return self.pattern.sub(lambda match: values[int(match[1])], text)

    def whole(self, text: str) -> int | None:
        """The number of the token whose word is all of *text*; None when there is more, or none."""
        match = self.pattern.fullmatch(text)
        return int(match[1]) if match else None


def mark(salt: str, number: int) -> str:
    """The word for token *number*."""
    return f"Z{salt}{number:0{_DIGITS}}Z"


class Spelled(Struct, frozen=True):
    """What is written at a site; `items` is set when a reader finds something else there than the values' text."""

    text: str
    items: tuple[Item, ...] | None = None


class Quoted:
    """A marked text in which the words that stand outside quotes are texts in double quotes, for the parser."""

    def __init__(self, marked: Marked, numbers: Sequence[int]) -> None:
        parts: list[str] = []
        self._ends: list[tuple[int, int]] = []
        copied = size = 0
        for number in numbers:
            start = marked.starts[number]
            end = start + marked.width
            parts += (marked.text[copied:start], '"', marked.text[start:end], '"')
            size += end - copied + 2
            self._ends.append((size, end))
            copied = end
        parts.append(marked.text[copied:])
        self.text = "".join(parts)

    def original(self, position: int) -> int:
        """Where in the marked text *position* is."""
        index = bisect_right(self._ends, (position, 0)) - 1
        return position if index < 0 else position - self._ends[index][0] + self._ends[index][1]


class Site(Struct, frozen=True):
    """`text[start:end]` is replaced by `spell(values)`, which may raise Unfit. `token` is its first one."""

    start: int
    end: int
    token: int
    spell: Callable[[Values], Spelled]


_NOT_ON_A_LINE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def on_a_line(value: str) -> str:
    """*value* for a comment: nobody reads it back, so line breaks and controls are only shown, as `\\n` or `\\x1b`."""
    shown = _NOT_ON_A_LINE.sub(lambda match: match[0].encode("unicode_escape").decode(), value)
    # A backslash at its end would let some comments go on in the next line.
    return shown + " " if shown.endswith("\\") else shown


def comment_site(marked: Marked, number: int) -> Site:
    """The site of a token in a comment."""
    start = marked.starts[number]
    return Site(start, start + marked.width, number, lambda values: Spelled(on_a_line(values[number])))


class Layout(Struct, frozen=True):
    """The sites of a template in the order of the text, without overlap, and its outline."""

    sites: list[Site]
    outline: list[Item] = field(default_factory=list)
