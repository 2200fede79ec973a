"""The memory through which an Extism guest and its host exchange bytes: one for each instance, see the .wat beside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from injector.backends.wasm.detection import EXTISM_MODULE
from injector.errors import PluginAnswerInvalid, PluginGuestFailed

if TYPE_CHECKING:
    from wasmtime import Linker, Memory, Module, Store

    from injector.backends.wasm.runtime import Runtime

_KEY: Final = "extism-kernel"
_U64: Final = (1 << 64) - 1


def kernel_module(runtime: Runtime) -> Module:
    """The compiled kernel, once for each engine."""
    from wasmtime import Module  # late: the package's own

    with runtime.lock_for(_KEY):
        if _KEY not in runtime.modules:
            text = Path(__file__).with_name("extism_kernel.wat").read_text(encoding="ascii")
            runtime.modules[_KEY] = Module(runtime.engine, text)
        return runtime.modules[_KEY]


def kernel_exports(module: Module) -> frozenset[str]:
    """What guests may import of the kernel: all but its memory."""
    return frozenset(export.name or "" for export in module.exports) - {"memory"}


class Kernel:
    """
    The kernel of one guest, in its store. *name* is the plugin's, for messages.

    Handles are 64-bit integers as wasmtime gives them, signed; 0 stands for nothing, and for an empty block.
    """

    def __init__(self, store: Store, module: Module, name: str) -> None:
        from wasmtime import Instance  # late: the package's own

        self._store = store
        self._name = name
        self._exports: Any = Instance(store, module, []).exports(store)
        self._memory: Memory = cast("Memory", self._exports["memory"])

    def define_in(self, linker: Linker) -> None:
        """Makes the kernel's functions the imports of the guest that *linker* is for."""
        for name, function in self._exports.items():
            if name != "memory":
                linker.define(self._store, EXTISM_MODULE, name, function)

    def read(self, handle: int, *, most: int) -> bytes:
        """
        The bytes of a block.

        Raises PluginAnswerInvalid when it is longer than *most*, or no block.
        """
        return self._bytes(handle, self._call("length", handle), most=most)

    def put(self, data: bytes) -> int:
        """A new block with *data*; 0 for no data. Raises PluginGuestFailed when the memory limit is reached."""
        if not data:
            return 0
        handle = self._call("alloc", len(data))
        if handle == 0:
            raise PluginGuestFailed(
                f"{self._name} has no room for {len(data)} bytes more", hint="raise plugins.wasmMemory"
            )
        self._memory.write(self._store, data, handle & _U64)
        return handle

    def free(self, handle: int) -> None:
        """Gives a block back; anything else is ignored."""
        self._call("free", handle)

    def begin(self, data: bytes) -> None:
        """Forgets, and wipes, every block, and makes *data* the input of the next call."""
        self._call("reset")
        self._call("input_set", self.put(data), len(data))

    def output(self, *, most: int) -> bytes:
        """What the guest's call has given. Raises PluginAnswerInvalid for what is longer than *most*, or no block."""
        length = self._call("output_length")
        return self._bytes(self._call("output_offset"), length, most=most)

    def error(self, *, most: int) -> bytes | None:
        """The error text that the guest has set, cut at *most*; None when there is none."""
        handle = self._call("error_get")
        if handle == 0:
            return None
        return self._bytes(handle, min(most, self._call("length", handle) & _U64), most=most)

    def _bytes(self, handle: int, length: int, *, most: int) -> bytes:
        handle, length = handle & _U64, length & _U64
        if length == 0:
            return b""
        if length > most:
            raise PluginAnswerInvalid(f"{self._name} gives {length} bytes, and {most} are the most here")
        if handle + length > self._memory.data_len(self._store):
            raise PluginAnswerInvalid(f"{self._name} points outside of its memory")
        return bytes(self._memory.read(self._store, handle, handle + length))

    def _call(self, function: str, *arguments: int) -> int:
        return int(self._exports[function](self._store, *arguments) or 0)
