"""JSON values, flat and digit for digit; what other formats, too, mean by "the value spells a number or a name"."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from injector.render.formats.layout import Misfit

if TYPE_CHECKING:
    from injector.render.formats.layout import Item

SCALAR = re.compile(r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null)\Z")
"""The numbers and names of JSON: what stays as it is at an unquoted place."""

# Controls of Latin-1, what YAML 1.1 takes for a line break, byte order marks, and what is no character.
_NOT_PLAIN = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_NAMES: dict[bool | None, str] = {True: "true", False: "false", None: "null"}


class _Number(NamedTuple):
    digits: str


class _Members(NamedTuple):
    pairs: list[tuple[str, Any]]


def string(text: str) -> str:
    """*text* as a JSON string that YAML and TOML read as well: line breaks, controls and the like are escaped."""
    return _NOT_PLAIN.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))


def as_items(text: str) -> list[Item]:
    """
    The value that *text* is, in order: objects with their members (also those that are there twice), lists, texts.

    Raises Misfit when it is not JSON.
    """
    try:
        root = json.loads(
            text, object_pairs_hook=_Members, parse_int=_Number, parse_float=_Number, parse_constant=_refuse
        )
    except json.JSONDecodeError as error:
        raise Misfit(
            error.pos, "this is not JSON", "JSON has no comments, no trailing commas and only double quotes"
        ) from None
    except ValueError:
        raise Misfit(0, "NaN and Infinity are not JSON") from None
    except RecursionError:
        raise Misfit(0, "this is nested too deeply") from None
    return _flat(root)


def is_scalar_text(text: str) -> bool:
    """Whether *text* is, to the letter, a number, true, false or null of JSON."""
    return SCALAR.match(text) is not None


def _refuse(_: str) -> NoReturn:
    raise ValueError


class _Done(NamedTuple):
    item: Item


def _flat(root: Any) -> list[Item]:
    items: list[Item] = []
    stack = [root]
    while stack:
        node = stack.pop()
        match node:
            case _Done(item):
                items.append(item)
            case _Number(digits):
                items.append(("plain", digits))
            case _Members(pairs):
                items.append(("object",))
                # Members that fall together are one for most readers: their number tells.
                stack.append(_Done(("end", str(len({key for key, _ in pairs})))))
                for key, value in reversed(pairs):
                    stack += (value, _Done(("key", key)))
            case list():
                items.append(("list",))
                stack.append(_Done(("end",)))
                stack.extend(reversed(node))
            case str():
                items.append(("text", node))
            case _:
                items.append(("plain", _NAMES[node]))
    return items
