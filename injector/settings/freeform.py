"""Settings whose meaning is somebody else's: nodes of a settings file to JSON's types, each problem at its place."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from yaml.nodes import Node

_DEEPEST = 16
_MOST_VALUES = 10_000  # anchors make much of little, and circles
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "false": False}


class Report(Protocol):
    """Takes a problem of a node."""

    def __call__(self, node: Node, message: str, *, hint: str | None = None) -> None: ...


class FreeForm:
    """Reads nodes; *report* gets what is wrong. A value that is wrong is left out."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._left = _MOST_VALUES

    def mapping(self, node: Node, where: str) -> dict[str, Node]:
        """The entries of a mapping whose keys are texts; nothing counts as an empty one."""
        if _type(node) == "null":
            return {}
        if _type(node) != "map":
            self._report(node, f"{where}: expected a mapping")
            return {}
        entries: dict[str, Node] = {}
        for key, value in node.value:
            if _type(key) != "str":
                self._report(key, f"{where}: a key is no text", hint="put quotes around it")
            elif key.value in entries:
                self._report(key, f"{where}: a key is there twice")
            else:
                entries[key.value] = value
        return entries

    def values(self, node: Node, where: str, *, depth: int = 1) -> dict[str, Any]:
        """A mapping with everything in it."""
        return {
            key: self._value(value, f"{where}.{key}", depth=depth) for key, value in self.mapping(node, where).items()
        }

    def value(self, node: Node, where: str) -> Any:
        """Anything: a mapping, a list or a scalar."""
        return self._value(node, where, depth=1)

    def _value(self, node: Node, where: str, *, depth: int) -> Any:
        self._left -= 1
        if depth > _DEEPEST or self._left < 0:
            if self._left >= -1:
                self._report(node, f"{where}: too deep or too much")
            self._left = min(self._left, -1)
            return None
        kind = _type(node)
        if kind == "map":
            return self.values(node, where, depth=depth + 1)
        if kind == "seq":
            return [self._value(item, f"{where}[{place}]", depth=depth + 1) for place, item in enumerate(node.value)]
        return self._scalar(node, where, kind)

    def _scalar(self, node: Node, where: str, kind: str) -> Any:
        text: str = node.value
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
        if kind in {"int", "float"} and _NUMBER.fullmatch(text) and math.isfinite(float(text)):
            return int(text) if kind == "int" else float(text)
        # 0600, yes, 12:30 and dates mean one thing to one reader and another to the next.
        self._report(
            node, f"{where}: this is neither a text, a plain number, true nor false", hint="put quotes around it"
        )
        return None


def _type(node: Node) -> str:
    return str(node.tag).removeprefix("tag:yaml.org,2002:")
