"""
POSIX shell and bash scripts. A token is inside single or double quotes, a part of a bare word, or in a comment.

A value is always data: it never becomes a command, an expansion or a keyword. Places where that cannot be had
(here-documents, backquotes, parameter expansions, arithmetic, `$'…'`) are refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from injector.render.formats.layout import Layout, Misfit, Site, Spelled, Unfit, comment_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from injector.render.formats.layout import Item, Marked, Values

_BARE = re.compile(
    r"""(?P<comment>(?:(?<=[\s;&|()])|(?<![\s\S]))\#[^\n]*)
    |(?P<escaped>\\.)
    |(?P<single>'[^']*')
    |(?P<double>")
    |(?P<nested>\$\((?!\())
    |(?P<expansion>\$\(\(|\$\{|\$'|`)
    |(?P<string><<<)
    |(?P<here><<[-~]?\s*(?:\\?[\w.-]+|'[^'\n]*'|"[^"\n]*"))
    |(?P<open>\()
    |(?P<close>\))
    |(?P<plain>[\w./:@%+,=^-]+)
    |(?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)
_IN_DOUBLE = re.compile(
    r"""(?P<escaped>\\.)|(?P<double>")|(?P<nested>\$\((?!\())|(?P<expansion>\$\(\(|\$\{|`)
    |(?P<plain>[^\\"$`]+)|(?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)
_SIMPLE = re.compile(
    r"""\$\{[\#!]?[\w@*\#?$!-]*(?:\[[\w@*]+\])?(?:[:%\#/^,+=?-]+[^{}"'`$\\]*)?\}
    |\$\(\([^()'"`$]*(?:\$\w+[^()'"`$]*)*\)\)
    |`[^`'"\\]*`
    |\$'[^'\\]*'""",
    re.VERBOSE,
)
"""Expansions of which it is clear where they end."""
_SAFE = re.compile(r"[A-Za-z0-9_./:@%+,-]+\Z")
_NEEDS_ESCAPE = re.compile(r"[\\\"$`]")
_NAME = re.compile(r"[ \t]*(?:export[ \t]+|readonly[ \t]+)?\Z")

Part = tuple[str, int, int]
"""What a stretch of a script is (comment, escaped, single, bare, quoted, code, …), from where to where."""


def lay_out(marked: Marked) -> Layout:
    """A site for every token."""
    sites: list[Site] = []
    number = 0
    dollar = -1
    for kind, start, end in _Reader(marked.text).parts():
        while number < len(marked.starts) and marked.starts[number] < end:
            word = marked.starts[number]
            if word >= start:
                sites.append(_site(marked, number, "expansion" if word == dollar else kind))
            number += 1
        dollar = end if kind == "code" and marked.text[end - 1] == "$" else -1
    return Layout(sites, outline(marked.text))


def outline(text: str) -> list[Item]:
    """What is code and what is text, each run of either as one, without comments."""
    items: list[Item] = []
    literal: list[str] = []

    def flush() -> None:
        if run := "".join(literal):
            items.append(("run", run))
        literal.clear()

    for kind, start, end in _Reader(text).parts():
        part = text[start:end]
        if kind in {"bare", "quoted"}:
            literal.append(part)
        elif kind == "single":
            literal.append(part[1:-1])
        elif kind == "escaped":
            literal.append("" if part == "\\\n" else part[1:])
        elif kind == "escaped-in-double":
            literal.append("" if part == "\\\n" else part[1:] if part[1] in '\\"$`' else part)
        elif kind not in {"comment", "quote"}:
            flush()
            items.append(("code", part))
    flush()
    return items


class _Reader:
    """Goes through a script once and tells what is what; where it cannot be told, all that is left is `unclear`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._open: list[str] = []  # `"`, `$(` or `(`
        self._here: list[str] = []
        self._position = 0

    def parts(self) -> Iterator[Part]:
        text = self._text
        while self._position < len(text):
            in_double = self._open[-1:] == ['"']
            match = (_IN_DOUBLE if in_double else _BARE).match(text, self._position)
            assert match is not None  # it matches anything
            self._position = match.end()
            kind = self._kind(match, in_double=in_double)
            yield kind, match.start(), self._position
            if self._here and match[0] == "\n" and not in_double:
                end = _here_end(text, self._position, self._here)
                yield "here", self._position, end
                self._position, self._here = end, []
        if '"' in self._open:
            raise Misfit(len(text), "a double quote is not closed")

    def _kind(self, match: re.Match[str], *, in_double: bool) -> str:
        kind = match.lastgroup or ""
        if kind == "plain":
            return "quoted" if in_double else self._plain(match[0])
        if kind == "escaped":
            return "escaped-in-double" if in_double else kind
        if kind == "expansion":
            return self._expansion(match.start())
        if kind in {"comment", "single"}:
            return kind
        if kind == "double":
            self._toggle(in_double=in_double)
            return "quote"
        if kind in {"nested", "open"}:
            self._open.append(match[0])
        elif kind == "close":
            del self._open[-1:]
        elif kind == "here":
            self._here.append(match[0])
        return "code"

    def _toggle(self, *, in_double: bool) -> None:
        if in_double:
            self._open.pop()
        else:
            self._open.append('"')

    def _plain(self, word: str) -> str:
        if word == "case" and "$(" in self._open:
            # Its patterns end with `)`: where the substitution ends cannot be told.
            return self._unclear()
        return "bare"

    def _expansion(self, start: int) -> str:
        simple = _SIMPLE.match(self._text, start)
        if simple is None:
            return self._unclear()
        self._position = simple.end()
        return "expansion"

    def _unclear(self) -> str:
        self._position = len(self._text)
        self._open.clear()
        return "unclear"


def _here_end(text: str, position: int, here: list[str]) -> int:
    for opener in here:
        tabs = opener.startswith("<<-")
        delimiter = re.sub(r"^<<[-~]?\s*|[\\'\"]", "", opener)
        while position < len(text):
            line_end = text.find("\n", position)
            line_end = len(text) if line_end < 0 else line_end
            line = text[position:line_end]
            position = min(line_end + 1, len(text))
            if (line.lstrip("\t") if tabs else line) == delimiter:
                break
    return position


def _site(marked: Marked, number: int, kind: str) -> Site:
    start = marked.starts[number]
    end = start + marked.width
    match kind:
        case "comment":
            return comment_site(marked, number)
        case "single":
            return Site(start, end, number, _spelled(number, lambda value: value.replace("'", "'\\''")))
        case "quoted":
            return Site(start, end, number, _spelled(number, _in_double))
        case "bare":
            if marked.text[end : end + 1] == "=" and _NAME.search(marked.text, max(0, start - 20), start):
                raise Misfit(start, "a token stands for the name of a variable", "write the name into the template")
            after_equals = marked.text[max(0, start - 1) : start] == "="
            return Site(start, end, number, _spelled(number, lambda value: _bare(value, after_equals=after_equals)))
        case "here":
            raise Misfit(start, "a token stands in a here-document", "put the value into a variable, with quotes")
        case _:
            raise Misfit(
                start, "a token stands inside an expansion of the shell", "put the value into a variable first"
            )


def _spelled(number: int, spell: Callable[[str], str]) -> Callable[[Values], Spelled]:
    def spelled(values: Values) -> Spelled:
        if "\0" in values[number]:
            raise Unfit(number, "a shell cannot hold a NUL character", "write [encoding=base64] behind the token")
        return Spelled(spell(values[number]))

    return spelled


def _in_double(value: str) -> str:
    return _NEEDS_ESCAPE.sub(lambda match: "\\" + match[0], value)


def _bare(value: str, *, after_equals: bool) -> str:
    return value if after_equals and _SAFE.match(value) else "'" + value.replace("'", "'\\''") + "'"
