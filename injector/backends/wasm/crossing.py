"""
The way into wasmtime for what every call batch does some dozen times; see docs/decisions/0137.

wasmtime's Python asks for a function's type anew at each call, value by value, and lets go of the interpreter's lock in
every one of these questions: some two hundred times a batch, each an invitation to another thread. Here types are
known, and only what runs guest code lets go. To be imported where wasmtime is needed, and not before.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wasmtime import Linker, Trap, WasmtimeError
from wasmtime import _bindings as bindings
from wasmtime import _ffi as ffi

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmtime import Instance, Store

_KINDS: Final = {"i32": ffi.WASMTIME_I32.value, "i64": ffi.WASMTIME_I64.value}
_WITH_LOCK: Final = ctypes.PyDLL("", handle=ffi.dll._handle)  # noqa: SLF001  # the same library, the lock kept


def _quick(name: str, result: Any) -> Any:
    """A function of wasmtime's that does not wait and calls nothing back."""
    function = getattr(_WITH_LOCK, name)
    function.argtypes, function.restype = getattr(bindings, f"_{name}").argtypes, result
    return function


_export_get: Final = _quick("wasmtime_instance_export_get", ctypes.c_bool)
_memory_data: Final = _quick("wasmtime_memory_data", ctypes.c_void_p)
_memory_size: Final = _quick("wasmtime_memory_data_size", ctypes.c_size_t)


class Signature(NamedTuple):
    """The kinds of a function's parameters, and that of its result."""

    params: tuple[int, ...]
    result: int | None


def signature(text: str) -> Signature | None:
    """Of a type as `exports.exported_types` has it; None for other types than integers, or several results."""
    params, arrow, results = text.removeprefix("(").removesuffix(")").partition(") -> (")
    names = [name for name in params.split(", ") if name]
    if not arrow or not {*names, results or "i32"} <= _KINDS.keys():
        return None
    return Signature(tuple(_KINDS[name] for name in names), _KINDS[results] if results else None)


def signatures(types: Mapping[str, str]) -> dict[str, Signature]:
    """Of all that can be called in *types* (by name, as `exports.exported_types` has them)."""
    found = ((name, signature(text)) for name, text in types.items())
    return {name: known for name, known in found if known is not None}


class Exports:
    """
    The exports of one instance, of the types *signatures*. With a store that is closed each call is a ValueError.
    """

    def __init__(self, store: Store, instance: Instance, signatures: dict[str, Signature]) -> None:
        self._store = store
        self._instance = instance._instance  # noqa: SLF001
        self._signatures = signatures
        self._functions: dict[str, Any] = {}
        self.memory = self._memory()

    def has_function(self, name: str) -> bool:
        """Whether it can be called."""
        return name in self._signatures

    def call(self, name: str, *arguments: int) -> int | None:
        """
        What the function *name* returns; integers are signed.

        Raises KeyError when there is none, Trap and WasmtimeError as wasmtime's own way does.
        """
        kinds, result = self._signatures[name]
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = self._found(name).of.func
        values = (ffi.wasmtime_val_t * (len(arguments) or 1))()
        for value, kind, argument in zip(values, kinds, arguments, strict=False):  # wasmtime compares the numbers
            value.kind = kind
            value.of.i64 = argument if kind == _KINDS["i64"] else argument & 0xFFFFFFFF
        answer = ffi.wasmtime_val_t()
        trap: Any = ctypes.POINTER(ffi.wasm_trap_t)()
        error: Any = ffi.wasmtime_func_call(
            self._store._context(),  # noqa: SLF001
            ctypes.byref(function),
            values,
            len(arguments),
            ctypes.byref(answer),
            0 if result is None else 1,
            ctypes.byref(trap),
        )
        if error:
            raise WasmtimeError._from_ptr(error)  # noqa: SLF001
        if trap:
            raise Trap._from_ptr(trap)  # noqa: SLF001
        if result is None:
            return None
        return int(answer.of.i64 if result == _KINDS["i64"] else answer.of.i32)

    def _memory(self) -> Memory | None:
        item = self._find("memory")
        is_memory = item is not None and item.kind == ffi.WASMTIME_EXTERN_MEMORY.value
        return Memory(self._store, item.of.memory) if item is not None and is_memory else None

    def _found(self, name: str) -> Any:
        item = self._find(name)
        if item is None:
            raise KeyError(name)
        return item

    def _find(self, name: str) -> Any:
        item, encoded = ffi.wasmtime_extern_t(), name.encode()
        context = self._store._context()  # noqa: SLF001
        found = _export_get(
            context, ctypes.byref(self._instance), ctypes.create_string_buffer(encoded), len(encoded), item
        )
        return item if found else None


class Memory:
    """
    A linear memory. No range is checked here: whoever reads or writes holds it against `size` just before. Of a store
    that is closed: ValueError.
    """

    def __init__(self, store: Store, memory: Any) -> None:
        self._store = store
        self._memory = memory

    def size(self) -> int:
        """Bytes, at this moment."""
        return int(_memory_size(self._store._context(), ctypes.byref(self._memory)))  # noqa: SLF001

    def read(self, start: int, length: int) -> bytes:
        """The bytes there."""
        return ctypes.string_at(self._data() + start, length)

    def write(self, start: int, data: bytes) -> None:
        """Puts *data* there."""
        ctypes.memmove(self._data() + start, data, len(data))

    def _data(self) -> int:
        # It may have moved: memory grows.
        return int(_memory_data(self._store._context(), ctypes.byref(self._memory)))  # noqa: SLF001


def clone(linker: Linker) -> Linker:
    """A linker that begins with what *linker* has, and keeps to itself what is defined in it."""
    made: Linker = Linker.__new__(Linker)
    made._set_ptr(ffi.wasmtime_linker_clone(linker.ptr()))  # noqa: SLF001
    made.engine = linker.engine
    return made
