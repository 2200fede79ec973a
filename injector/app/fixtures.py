"""
A file of values that stand in for stores, so that templates can be rendered where there is no cloud.

YAML: a mapping of tokens without key paths to values. A text is the value as it is written, a mapping or a list is the
JSON of it, `!!binary` is base64.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

from injector.backends.builtin.recorded import Recorded
from injector.errors import FixturesInvalid, InjectorError, Place, RunFailed, SettingsError
from injector.model.references import Reference, Value
from injector.model.secret import Secret
from injector.model.template import Source, Token
from injector.settings.document import compose
from injector.settings.freeform import FreeForm
from injector.template.grammar import KNOWN_PREFIXES, Grammar, candidate_prefixes
from injector.template.scanner import scan

if TYPE_CHECKING:
    from pathlib import Path

    from yaml.nodes import Node

    from injector.backends.contract import Outcome
    from injector.settings.schema import Settings

_LARGEST = 64 * 1024 * 1024
_EXAMPLE = 'a line is such as  "AWSPARAMSTR:///app/db": {user: shop, password: example}'


def read_fixtures(path: Path, settings: Settings) -> Recorded:
    """
    The values of the file *path*, whose tokens are written with the separators of *settings*.

    Raises FixturesInvalid (with its place), or RunFailed with several.
    """
    root = _root(path)
    problems: list[InjectorError] = []
    outcomes: dict[Reference, Outcome] = {}
    if root is not None:
        if not root.tag.endswith(":map"):
            raise FixturesInvalid("expected a mapping of tokens to values", hint=_EXAMPLE, place=_place(path, root))
        for key, node in root.value:
            try:
                outcomes[_reference(path, key, settings)] = Value(Secret(_data(path, node)))
            except InjectorError as error:
                problems.append(error)
    if problems:
        raise problems[0] if len(problems) == 1 else RunFailed(problems)
    return Recorded(outcomes, str(path))


def _root(path: Path) -> Node | None:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        reason = (error.strerror or "it is no file").lower()
        raise FixturesInvalid(f"the file of values {path} cannot be read: {reason}", hint="correct --values") from None
    if len(data) > _LARGEST:
        raise FixturesInvalid(f"the file of values {path} is larger than {_LARGEST} bytes")
    try:
        return compose(data, str(path))
    except SettingsError as error:
        raise FixturesInvalid(error.message, hint=error.hint, place=error.place) from None


def _reference(path: Path, key: Node, settings: Settings) -> Reference:
    text = key.value if isinstance(key.value, str) else ""
    prefixes = KNOWN_PREFIXES | candidate_prefixes(text.encode(), settings.token_separator)
    grammar = Grammar(frozenset(prefixes), settings.token_separator, settings.key_separator)
    template = scan(Source(str(path), f"{{{{ {text} }}}}".encode()), grammar)
    match template.pieces:
        case (Token(keys=None) as token,) if not template.problems:
            return token.reference
        case (Token(),) if not template.problems:
            message = "a value is that of a whole token, without a key path"
            raise FixturesInvalid(message, hint=_EXAMPLE, place=_place(path, key))
    raise FixturesInvalid("this is no token", hint=_EXAMPLE, place=_place(path, key))


def _data(path: Path, node: Node) -> bytes:
    kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
    if kind == "binary":
        try:
            return base64.b64decode("".join(node.value.split()), validate=True)
        except (binascii.Error, ValueError):
            raise FixturesInvalid("this is not base64", place=_place(path, node)) from None
    if isinstance(node.value, str):
        return node.value.encode()
    problems: list[InjectorError] = []

    def report(node: Node, message: str, *, hint: str | None = None) -> None:
        problems.append(FixturesInvalid(message, hint=hint, place=_place(path, node)))

    value = FreeForm(report).value(node, "the value")
    if problems:
        raise problems[0] if len(problems) == 1 else RunFailed(problems)
    return json.dumps(value, ensure_ascii=False).encode()


def _place(path: Path, node: Node) -> Place:
    mark = node.start_mark
    return Place(str(path), mark.line + 1, mark.column + 1)
