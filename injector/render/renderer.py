"""Splices values into a template by position; what was inserted is never scanned again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from injector.errors import InjectorError, MissingError
from injector.model.policy import MissingPolicy, OnMissing
from injector.model.secret import Secret
from injector.model.template import Escape, Text, Token
from injector.render.keys import Document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from injector.model.references import Reference, Value
    from injector.model.template import Template


class Rendered(Struct, frozen=True):
    """
    A rendered template. `data` is the file; it is meaningless when there are `problems`.

    `forgiven` are the missing values that the policy let pass; each has its place. Where the token itself said what to
    do (`default=`, `optional=true`), there is nothing to tell.
    """

    data: Secret
    problems: tuple[InjectorError, ...] = ()
    forgiven: tuple[InjectorError, ...] = ()


class Renderer:
    """
    Renders any number of templates from one set of values; a value is parsed once, however many keys are asked of it.

    Args:
        values: what came back for every reference of the plan: a Value, or the error that stands for it.
    """

    def __init__(self, values: Mapping[Reference, Value | InjectorError]) -> None:
        self._values = values
        self._documents: dict[Reference, Document | MissingError] = {}

    def render(self, template: Template, policy: MissingPolicy) -> Rendered:
        """The template with every token replaced. Raises nothing for missing values: they are in `problems`."""
        data = memoryview(template.source.data)
        parts: list[bytes | memoryview] = []
        problems: list[InjectorError] = []
        forgiven: list[InjectorError] = []
        for piece in template.pieces:
            match piece:
                case Text(start, end):
                    parts.append(data[start:end])
                case Escape(start, end):
                    parts.append(data[start + 1 : end])
                case Token():
                    try:
                        parts.append(self._value(piece))
                    except InjectorError as error:
                        place = template.source.place(piece.start, piece.end)
                        located = error.at(place, token=template.text_of(piece))
                        written = template.source.data[piece.start : piece.end]
                        instead = _instead(piece, written, policy) if isinstance(error, MissingError) else None
                        if instead is None:
                            problems.append(located)
                        else:
                            parts.append(instead)
                            if piece.default is None and not piece.optional:
                                forgiven.append(located)
        return Rendered(Secret(b"".join(parts)), tuple(problems), tuple(forgiven))

    def _value(self, token: Token) -> bytes:
        value = self._values[token.reference]
        if isinstance(value, InjectorError):
            raise value
        if token.keys is None:
            return value.data.reveal()
        document = self._documents.get(token.reference)
        if document is None:
            document = self._documents[token.reference] = _document(value)
        if isinstance(document, MissingError):
            raise document
        return document.select(token.keys)


def _document(value: Value) -> Document | MissingError:
    try:
        return Document(value)
    except MissingError as error:
        return error


def _instead(token: Token, written: bytes, policy: MissingPolicy) -> bytes | None:
    """What to write for a missing value, or None when it is an error. The token's own wish goes first."""
    if token.default is not None:
        return token.default.encode("utf-8", "surrogateescape")
    if token.optional:
        return b""
    match policy.on_missing:
        case OnMissing.FAIL:
            return None
        case OnMissing.EMPTY:
            return b""
        case OnMissing.KEEP:
            return written
        case OnMissing.DEFAULT:
            return policy.default.encode("utf-8", "surrogateescape")
