"""The memory through which an Extism guest and its host exchange bytes: one for each instance, see the .wat beside."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from injector.backends.wasm.detection import EXTISM_MODULE
from injector.backends.wasm.exports import exported_types
from injector.errors import PluginAnswerInvalid, PluginGuestFailed

if TYPE_CHECKING:
    from wasmtime import Linker, Module, Store

    from injector.backends.wasm.crossing import Memory, Signature
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


@lru_cache(maxsize=1)
def _kernel_signatures(module: Module) -> dict[str, Signature]:
    from injector.backends.wasm.crossing import signatures  # late: wasmtime

    return signatures(exported_types(module))


class Kernel:
    """
    The kernel of one guest, in its store. *name* is the plugin's, for messages.

    Handles are 64-bit integers as wasmtime gives them, signed; 0 stands for nothing, and for an empty block.
    """

    def __init__(self, store: Store, module: Module, name: str) -> None:
        from wasmtime import Instance  # late: the package's own

        from injector.backends.wasm.crossing import Exports

        self._store = store
        self._name = name
        self._instance = Instance(store, module, [])
        self._exports = Exports(store, self._instance, _kernel_signatures(module))
        self._memory = cast("Memory", self._exports.memory)

    def define_in(self, linker: Linker) -> None:
        """
        Makes the kernel's functions the imports of the guest that *linker* is for. Its memory with them: a guest that
        imports that is refused before.
        """
        linker.define_instance(self._store, EXTISM_MODULE, self._instance)

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
        self._memory.write(handle & _U64, data)
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
        if handle + length > self._memory.size():
            raise PluginAnswerInvalid(f"{self._name} points outside of its memory")
        return self._memory.read(handle, length)

    def _call(self, function: str, *arguments: int) -> int:
        return self._exports.call(function, *arguments) or 0
