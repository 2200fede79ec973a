"""JSON patches (RFC 6902) that add: operations and the pointers in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Operation = dict[str, Any]


def append(pointer: str, existing: object, items: Sequence[Any], *, first: bool = False) -> list[Operation]:
    """Operations that add *items* to the list at *pointer*, which is missing or null when *existing* is None."""
    if not items:
        return []
    if existing is None:
        return [{"op": "add", "path": pointer, "value": list(items)}]
    if first:
        return [{"op": "add", "path": f"{pointer}/0", "value": item} for item in reversed(items)]
    return [{"op": "add", "path": f"{pointer}/-", "value": item} for item in items]


def add_members(pointer: str, existing: object, members: Mapping[str, Any]) -> list[Operation]:
    """Operations that add *members* to the mapping at *pointer*, which is missing or null when *existing* is None."""
    if not members:
        return []
    if existing is None:
        return [{"op": "add", "path": pointer, "value": dict(members)}]
    return [{"op": "add", "path": f"{pointer}/{escape(key)}", "value": value} for key, value in members.items()]


def escape(key: str) -> str:
    """*key* as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
