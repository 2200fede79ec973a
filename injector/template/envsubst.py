"""Environment variables in a template, replaced before tokens are looked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from injector.errors import VariableUnset
from injector.model.template import Source
from injector.template.lookahead import Ahead

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from injector.errors import TemplateError

# `$$` is matched so that its second half starts nothing. A default is searched by hand: it may hold `$`.
_VARIABLE = rb"\$(?:\$|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(\}|:-))"


def substitute(source: Source, variables: Mapping[str, str]) -> tuple[Source, tuple[TemplateError, ...]]:
    """
    `source` with `$NAME`, `${NAME}` and `${NAME:-default}` replaced, and an error for every name without a value.

    A default stands in for a variable that is unset or empty; it is not looked into for further variables. `$$`, `$1`
    and everything else with a dollar sign stay as they are. Values are written as UTF-8, bytes that the environment
    holds undecoded (surrogateescape) as those bytes. Offsets of the result are placed in `source`, which is a text as
    it was read, not itself a result. Each name that is missing gives one VariableUnset, placed where it is used first.
    """
    return _Substitution(source, variables).run()


class _Substitution:
    """One pass over one source."""

    def __init__(self, source: Source, variables: Mapping[str, str]) -> None:
        self._source = source
        self._data = source.data
        self._variables = variables
        self._values: dict[bytes, bytes] = {}
        self._unset: dict[bytes, list[tuple[int, int]]] = {}
        self._chunks: list[bytes] = []
        self._length = 0
        self._copied = 0
        self._shifts = [(0, 0)]
        self._default_ends = [Ahead(source.data, needle) for needle in (b"}", b"\n", b"\r")]

    def run(self) -> tuple[Source, tuple[TemplateError, ...]]:
        for match in re.finditer(_VARIABLE, self._data):
            name = match[1] or match[2]
            # Without a name it is `$$`; before the copied end it is part of a default.
            if name and match.start() >= self._copied:
                self._variable(name, match)
        return self._substituted(), tuple(self._errors())

    def _variable(self, name: bytes, match: re.Match[bytes]) -> None:
        start, end = match.span()
        value = self._value(name)
        if match[3] == b":-":
            brace, *line_ends = (ahead.of(end) for ahead in self._default_ends)
            if brace >= min(line_ends):
                return
            value = value or self._data[end:brace]
            end = brace + 1
        elif not value:
            self._unset.setdefault(name, []).append((start, end))
            return
        self._replace(start, end, value)

    def _value(self, name: bytes) -> bytes:
        value = self._values.get(name)
        if value is None:
            value = self._variables.get(name.decode("ascii"), "").encode("utf-8", "surrogateescape")
            self._values[name] = value
        return value

    def _replace(self, start: int, end: int, value: bytes) -> None:
        kept = self._data[self._copied : start]
        self._chunks += (kept, value)
        self._length += len(kept) + len(value)
        self._copied = end
        # Up to here nothing goes beyond the variable; from here on the two texts run in step again.
        self._shifts += ((self._length, start), (self._length, end))

    def _substituted(self) -> Source:
        if not self._chunks:
            return self._source
        data = b"".join((*self._chunks, self._data[self._copied :]))
        return Source(self._source.name, data, original=self._data, shifts=tuple(self._shifts))

    def _errors(self) -> Iterator[TemplateError]:
        for name, uses in self._unset.items():
            variable = name.decode("ascii")
            often = f", used {len(uses)} times" if len(uses) > 1 else ""
            error = VariableUnset(
                f"the variable {variable} is unset or empty{often}",
                hint=f"set it, or give a default: ${{{variable}:-default}}",
            )
            start, end = uses[0]
            yield error.at(self._source.place(start, end), token=self._data[start:end].decode("ascii"))
