"""
The engine of this process: compiles modules, and moves the clock by which guests are stopped.

One engine is shared by all threads. While calls are in flight a thread raises its epoch every `TICK` seconds; each
running guest then asks whether it may go on (`instance`). Nobody pays for the thread while no guest runs.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from injector.errors import PluginRefused, WasmRuntimeMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wasmtime import Engine, Module

TICK: Final = 0.01
"""Seconds between two looks at whether a running guest may go on."""

_LINGER: Final = 100  # ticks without a guest, after which the thread ends
_RESERVATION: Final = 64 << 20  # bytes of addresses for a memory, instead of 4 GiB: `ulimit -v`, many instances
_GUARD: Final = 64 << 10


def _version() -> str:
    """wasmtime's, from the name of its folder of metadata: what would read it there is a long import."""
    import wasmtime  # late: an extra

    folders = list(Path(wasmtime.__file__).parents[1].glob("wasmtime-*.dist-info"))
    if len(folders) == 1:
        return folders[0].name.removeprefix("wasmtime-").removesuffix(".dist-info")
    from importlib.metadata import version  # late: seldom

    return version("wasmtime")


class Runtime:
    """
    An engine with its ticker. Use `shared()`: a process needs one, and compiled modules belong to theirs.

    Raises WasmRuntimeMissing when wasmtime is not installed.
    """

    _shared: Runtime | None = None
    _shared_by: int = 0
    _shared_lock = threading.Lock()

    def __init__(self) -> None:
        try:
            import wasmtime  # late: start-up, and an extra
        except ImportError:
            raise WasmRuntimeMissing(
                "WASM plugins need the package wasmtime, which is not installed",
                hint="pip install 'kube-config-injector[wasm]'",
            ) from None
        config = wasmtime.Config()
        config.epoch_interruption = True
        config.memory_reservation = _RESERVATION
        config.memory_guard_size = _GUARD
        self.engine: Engine = wasmtime.Engine(config)
        self.modules: dict[str, Module] = {}
        """Compiled modules by the SHA-256 of what they were made of; see `cache`."""
        self._lock = threading.Lock()
        self._module_locks: dict[str, threading.Lock] = {}
        self._running = 0
        self._ticker: threading.Thread | None = None

    @classmethod
    def shared(cls) -> Runtime:
        """This process's own; a forked child makes another, since the ticker's thread is not inherited."""
        with cls._shared_lock:
            if cls._shared is None or cls._shared_by != os.getpid():
                cls._shared, cls._shared_by = cls(), os.getpid()
            return cls._shared

    @property
    def fingerprint(self) -> str:
        """What compiled code depends on beside the module: runtime, its version, our settings, the target."""
        import platform  # late: only with a cache on disk

        settings = f"epoch-r{_RESERVATION}-g{_GUARD}"
        return f"wasmtime-{_version()}-{settings}-{platform.system()}-{platform.machine()}".lower()

    def lock_for(self, key: str) -> threading.Lock:
        """The lock of one entry of `modules`: others wait for a compilation instead of doing it, too."""
        with self._lock:
            return self._module_locks.setdefault(key, threading.Lock())

    def compile(self, wasm: bytes, name: str) -> Module:
        """
        Machine code for the module *wasm*: seconds of CPU and hundreds of MiB for large ones.

        *name* is the plugin's for messages. Raises PluginRefused for bytes that are no module which this can run.
        """
        from wasmtime import Module, WasmtimeError

        try:
            # Not `Module(engine, wasm)` for anything else than binary modules: it would take text as well.
            if not wasm.startswith(b"\0asm"):
                raise PluginRefused(
                    f"{name} is refused: it is no WASM module", hint="build it for wasip1, as a reactor"
                )
            return Module(self.engine, wasm)
        except WasmtimeError as error:
            reason = str(error).partition("\n")[0][:200]
            raise PluginRefused(
                f"{name} is refused: it is no WASM module that can be compiled: {reason}",
                hint="build it anew; components (WASI 0.2) are not understood, modules (wasip1) are",
            ) from None

    def load(self, path: str) -> Module | None:
        """The compiled module of a file that `Module.serialize` wrote; None when it does not fit this runtime."""
        from wasmtime import Module, WasmtimeError

        try:
            return Module.deserialize_file(self.engine, path)
        except WasmtimeError:
            return None

    @property
    def running(self) -> int:
        """How many guests are running just now."""
        return self._running

    @contextlib.contextmanager
    def ticking(self) -> Iterator[None]:
        """Epochs pass within this context."""
        with self._lock:
            self._running += 1
            if self._ticker is None:
                self._ticker = threading.Thread(target=self._tick, name="wasm-epochs", daemon=True)
                self._ticker.start()
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1

    def _tick(self) -> None:
        idle = 0
        while True:
            time.sleep(TICK)
            self.engine.increment_epoch()
            with self._lock:
                idle = 0 if self._running else idle + 1
                if idle > _LINGER:
                    self._ticker = None
                    return
