"""The exports of a compiled module, with their types as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wasmtime import Module


def exported_types(module: Module) -> dict[str, str]:
    """By name: `(i32, i32) -> (i32)` for a function, `memory`, `other` for what is neither."""
    return {export.name: _text(export.type) for export in module.exports}


def _text(type_: Any) -> str:
    from wasmtime import FuncType, MemoryType  # late: the package's own

    if isinstance(type_, MemoryType):
        return "memory"
    if not isinstance(type_, FuncType):
        return "other"
    return f"({', '.join(map(str, type_.params))}) -> ({', '.join(map(str, type_.results))})"
