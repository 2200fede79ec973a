"""A function that a guest imports from us, as a value."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - msgspec reads the fields' types
from typing import Any, Literal

from msgspec import Struct

WasmType = Literal["i32", "i64", "f32", "f64"]


class HostFunction(Struct, frozen=True):
    """
    An import `module` `name` of a guest.

    `function` is called with the instance that is running and the guest's arguments (integers are signed, as
    WebAssembly's bits are read: `& 0xffffffff` for a pointer). It gives what `result` says, None without one. What it
    raises ends the guest's call with just that error; the guest is told `failed`, and does not get much further.
    """

    module: str
    name: str
    params: tuple[WasmType, ...]
    result: WasmType | None
    function: Callable[..., Any]
    failed: int | None = None
