"""
Structured values: from a secret's bytes to plain objects, without losing a digit.

Objects are dict, list, str, bool, None and Decimal (numbers keep their digits: no float, no 4,300-digit limit).
All errors are NotStructured and are raised `from None`: the parsers' own errors carry the document.
"""

from __future__ import annotations

import io
import json
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NoReturn

from injector.errors import NotStructured
from injector.model.depth import first_too_deep
from injector.model.references import DocumentFormat

if TYPE_CHECKING:
    from injector.model.secret import Secret

Node = dict[str, Any] | list[Any] | str | bool | Decimal | None

_DEEPEST = 500

# YAML 1.2's core schema, so that 012, 12:30 and 2024-01-01 stay the text that they are.
_YAML_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$"


def parse(data: Secret, document_format: DocumentFormat) -> Node:
    """The value as plain objects; raises NotStructured when it is not a document of that format."""
    try:
        text = data.reveal().decode("utf-8")
    except UnicodeDecodeError:
        raise _not_structured("the value is not text, so it has no keys") from None
    match document_format:
        case DocumentFormat.JSON:
            return _parse_json(text)
        case DocumentFormat.YAML:
            return _parse_yaml(text)
        case DocumentFormat.DOTENV:
            return _parse_dotenv(text)


def _not_structured(message: str) -> NotStructured:
    return NotStructured(message, hint="leave the key path out for the whole value")


def to_json(node: Node) -> bytes:
    """Compact JSON, UTF-8, non-ASCII as it is, numbers digit for digit."""
    import msgspec  # late: start-up; few renders insert a whole object

    return msgspec.json.Encoder(decimal_format="number").encode(node)


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError("number out of range") from None
    if not number.is_finite():
        raise ValueError("number out of range")
    return number


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _parse_json(text: str) -> Node:
    try:
        node: Node = json.loads(text, parse_int=_number, parse_float=_number, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise _not_structured("the value is not JSON, so it has no keys") from None
    return node


def _parse_yaml(text: str) -> Node:
    import yaml  # late: start-up

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]  # the base is C or Python, whichever is installed
        yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML reads this attribute of the class
            **{first: [("tag:yaml.org,2002:bool", re.compile(r"(?:true|false)$"))] for first in "tf"},
            "n": [("tag:yaml.org,2002:null", re.compile(r"null$"))],
            "~": [("tag:yaml.org,2002:null", re.compile(r"~$"))],
            "": [("tag:yaml.org,2002:null", re.compile(r"$"))],
            **{first: [("tag:yaml.org,2002:float", re.compile(_YAML_NUMBER))] for first in "-0123456789"},
        }

    Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: _number(loader.construct_scalar(node)))
    try:
        if first_too_deep(yaml.parse(text, Loader=Loader), _DEEPEST) is not None:
            raise _not_structured("the value is nested too deeply, so it has no keys")
        node = yaml.load(text, Loader=Loader)  # noqa: S506  # a SafeLoader with fewer types
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        raise _not_structured("the value is not YAML, so it has no keys") from None
    return _with_text_keys(node)


def _with_text_keys(root: Any) -> Node:
    """YAML allows any key; key paths are text. Works on shared and circular nodes, each visited once."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        if isinstance(node, dict):
            seen.add(id(node))
            members = {key if isinstance(key, str) else str(key): child for key, child in node.items()}
            node.clear()
            node.update(members)
            stack.extend(node.values())
        elif isinstance(node, list):
            seen.add(id(node))
            stack.extend(node)
    result: Node = root
    return result


def _parse_dotenv(text: str) -> Node:
    from dotenv.parser import parse_stream  # late: start-up

    members: dict[str, Any] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            raise _not_structured(
                f"the value is not a dotenv file (its line {binding.original.line}), so it has no keys"
            )
        if binding.key is not None:
            members[binding.key] = binding.value or ""
    return members
