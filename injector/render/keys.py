"""
Key lookup: from a structured value and a key path to exactly one match.

    path   = "$" [ "." names ]         from the root
           | names                     at any depth, as JSONPath `$..names`
    names  = name { "." name }

A name is a member's name, or an index where the node is a list. A member whose own name has dots
(`spring.datasource.url`) is found as it is written. Paths with `*` or `..` inside are JSONPath (RFC 9535) and go to
python-jsonpath.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from injector.errors import InvalidReference, KeyAmbiguous, KeyNotFound, NotStructured
from injector.render.documents import Node, parse, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from injector.model.references import Value

# A YAML document of a few hundred bytes can unfold to billions of nodes by aliases: stop long before memory does.
MOST_NODES = 2_000_000

# The places that a JSONPath query visits grow with the power of its descents: ten of them and thirty levels are hours.
MOST_DESCENTS = 3

_LONGEST_SHOWN = 100


class Document:
    """
    A value, parsed once, indexed by member name, asked many times.

    Raises NotStructured when the value has no structure.
    """

    def __init__(self, value: Value) -> None:
        self._root = parse(value.data, value.format)
        self._members: dict[str, list[Node]] | None = None

    def select(self, keys: str) -> bytes:
        """
        The one match of the key path *keys*: a string's text, anything else as compact JSON, in UTF-8.

        Raises KeyNotFound, KeyAmbiguous, or InvalidReference when *keys* is no key path.
        """
        matches = self._matches(keys)
        if not matches:
            raise KeyNotFound(f"the value has no key `{_shown(keys)}`", hint=self._suggest(keys))
        if len(matches) > 1:
            raise KeyAmbiguous(
                f"the key `{_shown(keys)}` matches {len(matches)} places of the value",
                hint="name the members one by one, from the root on, such as `$.first[0].second`"
                if keys.startswith("$")
                else f"write the path from the root, such as `$.{_shown(keys)}`, or more of it",
            )
        match = matches[0]
        return match.encode("utf-8", "surrogatepass") if isinstance(match, str) else to_json(match)

    def _matches(self, keys: str) -> list[Node]:
        if keys == "$":
            return [self._root]
        if "*" in keys or ".." in keys or keys.startswith("$["):
            return _jsonpath(self._root, keys)
        from_root = keys.startswith("$.")
        names = keys.removeprefix("$.").split(".")
        if not all(names):
            raise InvalidReference(
                f"`{_shown(keys)}` is not a key path", hint="names are joined by single dots: `a.b.c`"
            )
        if from_root:
            return list(_walk(self._root, names))
        if not isinstance(self._root, (dict, list)):
            raise NotStructured("the value is JSON without keys: a single text, number, boolean or null")
        found: list[Node] = []
        for count in range(1, len(names) + 1):
            for node in self._index().get(".".join(names[:count]), ()):
                found.extend(_walk(node, names[count:]))
        return found

    def _index(self) -> dict[str, list[Node]]:
        """Member name to every value that has it, at any depth. Built at the first question."""
        if self._members is None:
            self._members = {}
            stack: list[Node] = [self._root]
            visited = 0
            while stack:
                visited += 1
                if visited > MOST_NODES:
                    raise NotStructured(f"the value has more than {MOST_NODES:,} nodes, so its keys are not looked up")
                node = stack.pop()
                if isinstance(node, dict):
                    for name, child in node.items():
                        self._members.setdefault(name, []).append(child)
                        if isinstance(child, (dict, list)):
                            stack.append(child)
                elif isinstance(node, list):
                    stack.extend(child for child in node if isinstance(child, (dict, list)))
        return self._members

    def _suggest(self, keys: str) -> str:
        names = keys.removeprefix("$.").split(".")
        for name in names:
            if name not in self._index() and not name.isdigit():
                close = difflib.get_close_matches(name, list(self._index())[:10_000], n=1)
                if close:
                    return f"did you mean `{close[0]}` instead of `{_shown(name)}`?"
                return f"no object of the value has a member `{_shown(name)}`; upper and lower case count"
        return "each name is there, but not below the one before it"


def _shown(keys: str) -> str:
    return keys if len(keys) <= _LONGEST_SHOWN else keys[:_LONGEST_SHOWN] + "…"


def _walk(node: Node, names: list[str]) -> Iterator[Node]:
    if not names:
        yield node
    elif isinstance(node, dict):
        for count in range(1, len(names) + 1):
            name = ".".join(names[:count])
            if name in node:
                yield from _walk(node[name], names[count:])
    elif isinstance(node, list) and names[0].isascii() and names[0].isdigit() and len(names[0]) < 10:
        index = int(names[0])
        if index < len(node):
            yield from _walk(node[index], names[1:])


def _jsonpath(root: Any, keys: str) -> list[Node]:
    import jsonpath  # late: start-up; 31 ms for the rare path

    path = keys if keys.startswith("$") else f"$..{keys}"
    if not isinstance(root, (dict, list)):
        raise NotStructured("the value is JSON without keys: a single text, number, boolean or null")
    if path.count("..") > MOST_DESCENTS:
        raise InvalidReference(
            f"`{_shown(keys)}` looks at any depth (`..`) more than {MOST_DESCENTS} times",
            hint="name more of the path: each `..` multiplies the places that are looked at",
        )
    try:
        found: list[Any] = jsonpath.findall(path, root)
    except (jsonpath.JSONPathError, RecursionError):
        raise InvalidReference(
            f"`{_shown(keys)}` is not a key path", hint="key paths are names joined by dots, or JSONPath (RFC 9535)"
        ) from None
    return found
