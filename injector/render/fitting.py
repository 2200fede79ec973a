"""
Values into a template of a known format, each spelled as its place wants it, and the result read back.

A value that cannot be spelled, and a result that would read differently, are problems at the token's place. What a
token with `format=raw` inserts counts as the template's own text: it is there before anything is looked at.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.errors import CheckFailed, InjectorError, NotInFormat, ValueUnfit
from injector.model.policy import FileFormat
from injector.model.template import Escape, Token
from injector.render.formats.layout import Marked, Misfit, Unfit, mark
from injector.render.formats.table import format_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from injector.model.policy import Form
    from injector.model.template import Template
    from injector.render.formats.layout import Item, Layout, Site

_BOM = b"\xef\xbb\xbf"
_RUN = re.compile(rb"Z(x*)")
_INSTEAD = "for a file that is plain text say format: plain"


class Fitted(Struct, frozen=True):
    """The file, meaningless when there are problems; and how values are spelled in it, for whoever must hide them."""

    data: bytes
    problems: tuple[InjectorError, ...] = ()
    spelled: tuple[str, ...] = ()


def fit(template: Template, values: Sequence[bytes], form: Form) -> Fitted:
    """
    The file with *values*, one for each token in order; problems have places.

    *form* is neither PLAIN nor raw. A template without tokens is copied, whatever it is.
    """
    if not values:
        return Fitted(_spliced(template, values))
    fitting = _Fitting(template, values, form)
    data, problems = fitting.run()
    return Fitted(data, tuple(problems), tuple(fitting.spelled))


def _spliced(template: Template, values: Sequence[bytes]) -> bytes:
    """The template with its values as they are."""
    rest = iter(values)
    return b"".join(next(rest) if isinstance(piece, Token) else _own(template, piece) for piece in template.pieces)


def _own(template: Template, piece: object) -> bytes:
    start, end = piece.start, piece.end  # type: ignore[attr-defined]  # a Text or an Escape
    return template.source.data[start + isinstance(piece, Escape) : end]


class _Fitting:
    """One template with its values."""

    def __init__(self, template: Template, values: Sequence[bytes], form: Form) -> None:
        self._template = template
        self._form = form
        self._format = format_module(form.format)
        self._tokens = [piece for piece in template.pieces if isinstance(piece, Token)]
        self._all = values
        self._problems: list[InjectorError] = []
        self._raw = [token.raw for token in self._tokens]
        self._fitted = [token for token, raw in zip(self._tokens, self._raw, strict=True) if not raw]
        self._codec = "utf-8"
        self._bom = False
        self.spelled: list[str] = []
        self._parted: list[bytes] = []  # the marked text, piece by piece

    def run(self) -> tuple[bytes, list[InjectorError]]:
        values = self._values()
        if self._problems:
            return b"", self._problems
        try:
            marked = self._marked()
            layout = self._format.lay_out(marked)
            self._refuse_elsewhere(marked, layout.sites)
        except Misfit as misfit:
            return b"", [self._not_in_format(misfit)]
        text, literals, stretches = self._spelled(marked, layout, values)
        if not self._problems and self._form.read_back:
            self._read_back(marked, layout, values, text, literals, stretches)
        if self._problems:
            return b"", self._problems
        bom = _BOM if self._bom else b""
        return bom + text.encode(self._codec), self._problems

    def _values(self) -> list[str]:
        texts: list[str] = []
        for token, raw, value in zip(self._tokens, self._raw, self._all, strict=True):
            if raw:
                continue
            try:
                texts.append(value.decode())
            except UnicodeDecodeError:
                reason = f"the value is not UTF-8 text, and {self._form.format} files hold nothing else"
                self._unfit(token, reason, "write [encoding=base64] or [encoding=hex] behind the token")
        return texts

    # ------------------------------------------------------------------------------------------- the marked text

    def _marked(self) -> Marked:
        # With the raw values in their places: a word must not come about where one of them meets the text.
        own = b"".join(self._parts(lambda _: b" "))
        salt = "x" * (1 + max((len(run[1]) for run in _RUN.finditer(own)), default=0))
        self._parted = list(self._parts(lambda number: mark(salt, number).encode()))
        data = b"".join(self._parted)
        self._bom = data.startswith(_BOM)
        data = data[len(_BOM) :] if self._bom else data
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            if self._form.format is not FileFormat.PROPERTIES:
                raise Misfit(
                    len(data[: error.start].decode()), f"{self._form.format} files are UTF-8, and this is not"
                ) from None
            # The older half of all .properties files; Latin-1 has a character for every byte.
            self._codec = "iso-8859-1"
            text = data.decode(self._codec)
        marked = Marked(text, [], salt)
        marked.starts = [match.start() for match in marked.pattern.finditer(text)]
        return marked

    def _parts(self, word: Callable[[int], bytes]) -> Iterator[bytes]:
        number = 0
        token = 0
        for piece in self._template.pieces:
            if not isinstance(piece, Token):
                yield _own(self._template, piece)
                continue
            if self._raw[token]:
                yield self._all[token]
            else:
                yield word(number)
                number += 1
            token += 1

    # ------------------------------------------------------------------------------------------------- spelling

    def _refuse_elsewhere(self, marked: Marked, sites: Sequence[Site]) -> None:
        index = 0
        for start in marked.starts:
            while index < len(sites) and sites[index].end <= start:
                index += 1
            if index == len(sites) or sites[index].start > start:
                raise Misfit(start, f"a token stands where {self._form.format} files have no value")

    def _spelled(
        self, marked: Marked, layout: Layout, values: list[str]
    ) -> tuple[str, dict[int, tuple[Item, ...]], list[tuple[int, int]]]:
        parts: list[str] = []
        literals: dict[int, tuple[Item, ...]] = {}
        stretches: list[tuple[int, int]] = []
        text, copied, size = marked.text, 0, 0
        for site in layout.sites:
            try:
                spelled = site.spell(values)
            except Unfit as unfit:
                self._unfit(self._fitted[unfit.token], unfit.reason, unfit.hint)
                continue
            self.spelled.append(spelled.text)
            if spelled.items is not None:
                literals[site.token] = spelled.items
            parts += (text[copied : site.start], spelled.text)
            size += site.start - copied
            stretches.append((size, site.token))
            size += len(spelled.text)
            copied = site.end
        parts.append(text[copied:])
        return "".join(parts), literals, stretches

    # ------------------------------------------------------------------------------------------------ reading back

    def _read_back(
        self,
        marked: Marked,
        layout: Layout,
        values: list[str],
        text: str,
        literals: dict[int, tuple[Item, ...]],
        stretches: list[tuple[int, int]],
    ) -> None:
        try:
            found = self._format.outline(text)
        except Misfit as misfit:
            before = [token for start, token in stretches if start <= misfit.position]
            token = before[-1] if before else 0
            self._check_failed(token, f"with this value the file is not valid {self._form.format}: {misfit.reason}")
            return
        position = 0
        token = 0
        for item in layout.outline:
            words = next((field for field in item if marked.has_words(field)), None)
            expected: tuple[Item, ...] = (item,)
            if words is not None:
                token = next(marked.tokens_in(words), token)
                expected = literals.get(token) or (tuple(marked.fill(field, values) for field in item),)
            if expected == (("run", ""),):
                continue  # no text between two others is none
            if tuple(found[position : position + len(expected)]) != expected:
                break
            position += len(expected)
        else:
            if position == len(found):
                return
        self._check_failed(token, f"with this value a reader of {self._form.format} files would find something else")

    def _check_failed(self, number: int, message: str) -> None:
        token = self._fitted[number] if self._fitted else self._tokens[0]
        hint = "look for quotes that are missing and keys that are there twice, or write format: plain"
        self._problems.append(self._at(CheckFailed(message, hint=hint), token))

    def _unfit(self, token: Token, reason: str, hint: str | None) -> None:
        self._problems.append(self._at(ValueUnfit(reason, hint=hint), token))

    def _at(self, error: InjectorError, token: Token) -> InjectorError:
        return error.at(self._template.source.place(token.start, token.end), token=self._template.text_of(token))

    def _not_in_format(self, misfit: Misfit) -> InjectorError:
        start, end, token = self._origin(misfit.position)
        hint = f"{misfit.hint}; {_INSTEAD}" if misfit.hint else f"correct it, or {_INSTEAD}"
        place = self._template.source.place(start, end)
        return NotInFormat(misfit.reason, hint=hint).at(place, token=token)

    def _origin(self, position: int) -> tuple[int, int | None, str | None]:
        """Where in the source the character *position* of the marked text comes from, and the token that it is of."""
        text = b"".join(self._parted)[len(_BOM) if self._bom else 0 :]
        offset = len(text.decode(self._codec, "replace")[:position].encode(self._codec, "replace"))
        offset += len(_BOM) if self._bom else 0
        for piece, part in zip(self._template.pieces, self._parted, strict=True):
            if offset < len(part):
                if isinstance(piece, Token):
                    return piece.start, piece.end, self._template.text_of(piece)
                return piece.start + isinstance(piece, Escape) + offset, None, None
            offset -= len(part)
        return len(self._template.source.data), None, None
