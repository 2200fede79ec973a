"""
One fresh instance of a module, with its limits: made, used by one thread, closed. Never used again after an error.

No exception of ours crosses the binding: wasmtime keeps the last one in a variable of the module, where another
thread's call finds it. A host function's error is kept by the running instance, the guest is told a failure, and at its
next epoch it is asked whether it may go on: not with an error, not after its deadline, not when it was cancelled.
Which instance is running is a fact of the thread, so that host functions hold none.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec import Struct

from injector.backends.wasm import binding, wasi
from injector.backends.wasm.exports import exported_types
from injector.errors import InjectorError, PluginAnswerInvalid, PluginError, PluginGuestFailed, PluginRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from wasmtime import Func, InstancePre, Linker, Memory, Module

    from injector.backends.wasm.deadline import Deadline
    from injector.backends.wasm.host_function import HostFunction
    from injector.backends.wasm.runtime import Runtime
    from injector.telemetry.logs import Log

_T = TypeVar("_T")

_MASK: Final = 0xFFFFFFFF
_SHOWN: Final = 300


class InstanceLimits(Struct, frozen=True):
    """Bytes: of each linear memory, of one answer, of all that a guest prints in its life."""

    memory: int = 64 << 20
    answer: int = 16 << 20
    printed: int = 64 << 10


class Program:
    """
    A compiled module with its imports bound; instances are made of it, by any thread.

    Args:
        runtime: the engine that compiled it.
        module: the compiled module.
        functions: what the guest may import beside WASI.
        bind: for imports that belong to one store, such as another module's exports: called for every instance with
            a linker of its own, before it is instantiated.
        name: the plugin's, for messages.

    Raises PluginRefused for a function of WASI that there is none of.
    """

    def __init__(
        self,
        runtime: Runtime,
        module: Module,
        functions: Sequence[HostFunction] = (),
        *,
        bind: Callable[[Instance, Linker], None] | None = None,
        name: str = "the WASM plugin",
    ) -> None:
        from wasmtime import WasmtimeError  # late: the package's own

        self.runtime = runtime
        self.module = module
        self.exports: Final = exported_types(module)
        self._functions = (*wasi.FUNCTIONS, *functions)
        self._bind = bind
        try:
            self._ready: InstancePre | None = None if bind else self._linker().instantiate_pre(module)
        except WasmtimeError as error:
            raise PluginRefused(
                f"{name} is refused: {str(error)[:200]}", hint="docs/wasm-plugins.md says what a module may import"
            ) from None

    def instantiate(self, instance: Instance) -> Any:
        """A wasmtime instance in the store of *instance*. Raises what wasmtime raises."""
        if self._ready is not None:
            return self._ready.instantiate(instance.store)
        assert self._bind is not None
        linker = self._linker()
        try:
            self._bind(instance, linker)
            return linker.instantiate(instance.store, self.module)
        finally:
            linker.close()

    def _linker(self) -> Linker:
        from wasmtime import Linker  # late: the package's own

        linker = Linker(self.runtime.engine)
        linker.allow_shadowing = True
        linker.define_wasi()
        for function in self._functions:
            binding.define(linker, function, running)
        return linker


class _Thread(threading.local):
    instance: Instance | None = None


_THREAD = _Thread()


def running() -> Instance:
    """The instance whose guest is running on this thread."""
    assert _THREAD.instance is not None
    return _THREAD.instance


class Instance:
    """
    A fresh instance; a context manager. The guest's initialisation has run when this was made.

    Args:
        program: what it is an instance of.
        name: the plugin's, for messages.
        deadline: of all that it does together; whoever cancels it ends its call.
        limits: see InstanceLimits.
        log: gets what the guest prints, at level debug.

    Raises what `call` raises.
    """

    def __init__(self, program: Program, *, name: str, deadline: Deadline, limits: InstanceLimits, log: Log) -> None:
        from wasmtime import Store, WasiConfig  # late: the package's own

        self.name = name
        self.limits = limits
        self.log = log
        self.state: dict[str, Any] = {}
        """For host functions: what belongs to this instance, such as open responses."""
        self.pending: BaseException | None = None
        self._program = program
        self.deadline = deadline
        self._text = bytearray()
        self._unfinished = b""
        self._spoilt = False
        self.crash: str | None = None
        """How it trapped, exited or ran out of something; None as long as it did not."""
        self._memory: Memory | None = None
        self._exports: Any = {}
        self.store = Store(program.runtime.engine)
        try:
            self.store.set_wasi(WasiConfig())
            self.store.set_limits(memory_size=limits.memory, memories=4, instances=4, tables=16, table_elements=1 << 20)
            binding.ask_at_epochs(self.store, running)
            self._exports = self._guarded(lambda: program.instantiate(self).exports(self.store))
            self._memory = self._exports.get("memory")
            for start in ("__wasm_call_ctors", "_initialize"):
                if start in program.exports:
                    self.call(start)
                    break
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives its memory back; may be called more than once."""
        self._say(self._unfinished)
        self._unfinished = b""
        self._memory = None
        self._exports = {}
        self.state.clear()
        self.store.close()

    # --------------------------------------------------------------------------------------------------- calls

    def call(self, export: str, *arguments: int) -> int | None:
        """
        What the exported function *export* returns; integers are signed.

        Raises:
            CallTimeout: the instance's time is over, asleep or not.
            PluginGuestFailed: it trapped, exited, or ran out of memory or stack.
            PluginError: there is no such function, or this instance has failed before.
            InjectorError: what a host function raised.
        """
        from wasmtime import Func  # late: the package's own

        function = self._exports.get(export)
        if not isinstance(function, Func):
            raise PluginError(f"{self.name} has no function {export}", hint="is it built for this kind of plugin?")
        answer: int | None = self._guarded(lambda: self._invoke(function, arguments))
        return answer

    def run(self, action: Callable[[], _T]) -> _T:
        """
        What *action* gives, which calls functions of other modules in this store. Raises what `call` raises.
        """
        answer: _T = self._guarded(action)
        return answer

    @property
    def exports(self) -> Mapping[str, str]:
        """The types of the module's exports as `exports.exported_types` has them."""
        return self._program.exports

    def _invoke(self, function: Func, arguments: tuple[int, ...]) -> Any:
        return function(self.store, *arguments)

    def _guarded(self, action: Callable[[], Any]) -> Any:
        if self._spoilt:
            raise PluginError(f"{self.name}: an instance that failed is not used again")
        outer, _THREAD.instance = _THREAD.instance, self
        try:
            self.check()
            with self._program.runtime.ticking():
                answer = action()
        except BaseException as error:  # noqa: BLE001  # what a host function met may be anything, and is raised again
            self._spoilt = True
            raise self._cause(error) from None
        finally:
            _THREAD.instance = outer
        if self.pending is not None:
            self._spoilt = True
            raise self._cause(self.pending)
        return answer

    def _cause(self, error: BaseException) -> BaseException:
        error = self.pending or error
        if isinstance(error, InjectorError):
            return error
        said = self.said()
        self.log.debug("a WASM plugin failed", plugin=self.name, reason=binding.reason(error), printed=said)
        told = binding.told(error)
        if told is None:
            return error
        what, hint = told
        self.crash = f"{self.name} {what}"
        return PluginGuestFailed(self.crash, hint=hint)

    def may_go_on(self) -> bool:
        """Whether the guest is allowed another slice of time; keeps the reason when not."""
        try:
            self.check()
        except InjectorError as error:
            self.pending = self.pending or error
        return self.pending is None

    def check(self) -> None:
        """Raises CallTimeout when its deadline is over, or was cancelled: for host functions that take their time."""
        self.deadline.check(self.name)

    # ------------------------------------------------------------------------------------------ memory and output

    @property
    def has_memory(self) -> bool:
        return self._memory is not None

    def has(self, export: str) -> bool:
        """Whether the module exports something of this name."""
        return export in self._program.exports

    def exported_type(self, export: str) -> str | None:
        """The type of an export as `exports.exported_types` has it; None when there is none of this name."""
        return self._program.exports.get(export)

    def read(self, pointer: int, length: int) -> bytes:
        """The bytes there. Raises PluginAnswerInvalid when they lie outside the guest's memory."""
        pointer &= _MASK
        memory = self._bounded(pointer, length)
        return bytes(memory.read(self.store, pointer, pointer + length)) if length else b""

    def write(self, pointer: int, data: bytes) -> None:
        """Puts *data* there. Raises PluginAnswerInvalid when it does not lie inside the guest's memory."""
        pointer &= _MASK
        memory = self._bounded(pointer, len(data))
        if data:
            memory.write(self.store, data, pointer)

    def _bounded(self, pointer: int, length: int) -> Memory:
        from wasmtime import Memory  # late: the package's own

        memory = self._memory
        if not isinstance(memory, Memory):
            raise PluginAnswerInvalid(f"{self.name} exports no memory")
        if length < 0 or pointer + length > memory.data_len(self.store):
            raise PluginAnswerInvalid(f"{self.name} points outside of its memory")
        return memory

    @property
    def room_to_print(self) -> int:
        """Bytes that are still kept of what the guest prints."""
        return max(0, self.limits.printed - len(self._text))

    def printed(self, data: bytes, length: int) -> None:
        """Takes *data*, the kept part of *length* bytes that the guest printed; whole lines go to the log."""
        if not data:
            return
        self._text += data
        if length > len(data):
            self.log.debug("a WASM plugin prints more than is kept", plugin=self.name, bytes=self.limits.printed)
        # By whole lines: a secret that is printed in pieces would not be recognised.
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        for line in lines:
            self._say(line)

    def _say(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").strip()
        if text:
            text = self.log.redactor.clean(text)[:2000]  # before the cut, which could go through a secret
            self.log.debug("a WASM plugin says", plugin=self.name, text=text)

    def said(self) -> str:
        """The beginning of what the guest printed, for the log: it may hold a value."""
        return self._text[:_SHOWN].decode("utf-8", "replace")
