"""Where wasmtime's binding is met at its edges: host functions, the question at epochs, what a failure means."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmtime import Linker, Store

    from injector.backends.wasm.host_function import HostFunction
    from injector.backends.wasm.instance import Instance

_STOPPED = "stopped by the host"
_EPOCH_CALLBACKS: dict[Any, Any] = {}


def define(linker: Linker, function: HostFunction, running: Callable[[], Instance]) -> None:
    """Defines *function* in *linker*; *running* gives the instance of the thread that calls it."""
    from wasmtime import FuncType, ValType  # late: the package's own

    types = {"i32": ValType.i32, "i64": ValType.i64, "f32": ValType.f32, "f64": ValType.f64}
    results = [types[function.result]()] if function.result else []

    def host(*arguments: Any) -> Any:
        instance = running()
        if instance.pending is None:
            try:
                return function.function(instance, *arguments)
            except BaseException as error:  # noqa: BLE001  # raised by `Instance` when the guest has ended
                _keep(instance, error)
        return function.failed if function.result else None

    linker.define_func(
        function.module, function.name, FuncType([types[param]() for param in function.params], results), host
    )


def _keep(instance: Instance, error: BaseException) -> None:
    # A function of another module that was called may have been stopped at an epoch, which has left the reason.
    instance.pending = instance.pending or error


def ask_at_epochs(store: Store, running: Callable[[], Instance]) -> None:
    """
    Lets the guests of *store* run from epoch to epoch, as long as `Instance.may_go_on`.

    wasmtime's Python has a fixed deadline only; this is the callback of its C interface.
    """
    from wasmtime import _ffi as ffi

    callback = _EPOCH_CALLBACKS.get(running)
    if callback is None:  # of two threads that come here at once, both take the one that is kept: stores point to it
        callback = _EPOCH_CALLBACKS.setdefault(running, _epoch_callback(running))
    no_finalizer = ctypes.CFUNCTYPE(None, ctypes.c_void_p)()
    ffi.wasmtime_store_epoch_deadline_callback(store.ptr(), callback, None, no_finalizer)
    store.set_epoch_deadline(1)


def _epoch_callback(running: Callable[[], Instance]) -> Any:
    from wasmtime import WasmtimeError
    from wasmtime import _bindings as bindings

    kind = bindings._wasmtime_store_epoch_deadline_callback.argtypes[1]  # noqa: SLF001  # the only place of its type

    def ask(_context: Any, _data: Any, delta: Any, update: Any) -> int:
        if running().may_go_on():
            delta[0], update[0] = 1, 0
            return 0
        return ctypes.cast(WasmtimeError(_STOPPED)._consume(), ctypes.c_void_p).value or 0  # noqa: SLF001

    return kind(ask)


def reason(error: BaseException) -> str:
    """wasmtime's own text, for the log."""
    return str(error)[:2000]


def told(error: BaseException) -> tuple[str, str] | None:
    """What *error* of wasmtime says about the guest, and what to do about it; None for another error."""
    from wasmtime import ExitTrap, Trap, TrapCode, WasmtimeError  # late: the package's own

    see = "what the plugin printed is in the log at level debug"
    if isinstance(error, ExitTrap):
        return f"exited with code {error.code} instead of answering", see
    if not isinstance(error, (Trap, WasmtimeError)):
        return None
    code = error.trap_code if isinstance(error, Trap) else None
    if code is TrapCode.STACK_OVERFLOW:
        return "used up its stack", "it recurses too deeply"
    if code is TrapCode.MEMORY_OUT_OF_BOUNDS:
        return "accessed memory that it does not have", see
    if code is TrapCode.UNREACHABLE:
        return "gave up: a panic, or no memory left (trap: unreachable)", see
    if code is not None:
        return f"failed (trap: {code.name.lower().replace('_', ' ')})", see
    text = str(error)
    if text.startswith("unknown import"):
        return f"wants what this host does not have: {text[:200]}", "docs/wasm-plugins.md says what it may import"
    if "memory" in text and ("limit" in text or "minimum" in text):
        return "needs more memory than plugins may have", "raise plugins.wasmMemory"
    return "failed in the WASM runtime", see
