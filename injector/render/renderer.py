"""Puts values into a template by position; what was inserted is never scanned again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from injector.errors import InjectorError, MissingError, ValueUnfit
from injector.model.policy import PLAIN_FORM, Escaping, FileFormat, Form, MissingPolicy, OnMissing
from injector.model.secret import Secret
from injector.model.template import Escape, Text, Token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from injector.model.references import Reference, Value
    from injector.model.template import Template
    from injector.render.keys import Document


class Rendered(Struct, frozen=True):
    """
    A rendered template. `data` is the file; it is meaningless when there are `problems`.

    `forgiven` are the missing values that the policy let pass; each has its place. Where the token itself said what to
    do (`default=`, `optional=true`), there is nothing to tell. `values` are what went in,
    as values and as they are spelled, for whoever must hide them.
    """

    data: Secret
    problems: tuple[InjectorError, ...] = ()
    forgiven: tuple[InjectorError, ...] = ()
    values: tuple[Secret, ...] = ()


class Renderer:
    """
    Renders any number of templates from one set of values; a value is parsed once, however many keys are asked of it.

    Args:
        values: what came back for every reference of the plan: a Value, or the error that stands for it.
    """

    def __init__(self, values: Mapping[Reference, Value | InjectorError]) -> None:
        self._values = values
        self._documents: dict[Reference, Document | MissingError] = {}

    def render(self, template: Template, policy: MissingPolicy, form: Form = PLAIN_FORM) -> Rendered:
        """
        The template with every token replaced, as *form* says.

        Raises nothing: missing values, values that have no spelling at their place and a template that is not of its
        format are in `problems`, each with its place.
        """
        values: list[bytes] = []
        problems: list[InjectorError] = []
        forgiven: list[InjectorError] = []
        for token in template.tokens():
            try:
                values.append(self._value(token))
            except InjectorError as error:
                place = template.source.place(token.start, token.end)
                located = error.at(place, token=template.text_of(token))
                written = template.source.data[token.start : token.end]
                instead = _instead(token, written, policy) if isinstance(error, MissingError) else None
                if instead is None:
                    problems.append(located)
                else:
                    values.append(instead)
                    if token.default is None and not token.optional:
                        forgiven.append(located)
        if problems:
            return Rendered(Secret(b""), tuple(problems), tuple(forgiven))
        inserted = tuple(map(Secret, values))
        if form.format is FileFormat.PLAIN or form.escape is Escaping.RAW:
            return Rendered(Secret(_spliced(template, values)), (), tuple(forgiven), inserted)
        from injector.render.fitting import fit  # late: start-up; plain files need no formats

        fitted = fit(template, values, form)
        spelled = tuple(Secret(text.encode()) for text in fitted.spelled)
        return Rendered(Secret(fitted.data), fitted.problems, tuple(forgiven), inserted + spelled)

    def _value(self, token: Token) -> bytes:
        value = self._values[token.reference]
        if isinstance(value, InjectorError):
            raise value
        if token.keys is None:
            return _encoded(value.data.reveal(), token.encoding)
        document = self._documents.get(token.reference)
        if document is None:
            document = self._documents[token.reference] = _document(value)
        if isinstance(document, MissingError):
            raise document
        return _encoded(document.select(token.keys), token.encoding)


def _spliced(template: Template, values: list[bytes]) -> bytes:
    data = memoryview(template.source.data)
    if len(values) == 1 and _is_one_token(template) and not _is_text(values[0]):
        return values[0]
    rest = iter(values)
    parts: list[bytes | memoryview] = []
    for piece in template.pieces:
        match piece:
            case Text(start, end):
                parts.append(data[start:end])
            case Escape(start, end):
                parts.append(data[start + 1 : end])
            case Token():
                parts.append(next(rest))
    return b"".join(parts)


def _is_one_token(template: Template) -> bool:
    """Whether there is nothing but a token, and the line break that an editor puts at the end."""
    first = template.pieces[0]
    return isinstance(first, Token) and template.source.data[first.end :] in {b"", b"\n", b"\r\n"}


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _encoded(value: bytes, encoding: str | None) -> bytes:
    match encoding:
        case "base64":
            import binascii  # late: start-up

            return binascii.b2a_base64(value, newline=False)
        case "hex":
            return value.hex().encode()
        case "utf8" if not _is_text(value):
            raise ValueUnfit(
                "the value is not UTF-8 text, which encoding=utf8 asks for",
                hint="write [encoding=base64] or [encoding=hex] behind the token",
            )
    return value


def _document(value: Value) -> Document | MissingError:
    from injector.render.keys import Document  # late: most tokens ask for no key

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
