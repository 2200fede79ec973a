"""From a module's file to a backend."""

from __future__ import annotations

import asyncio
from pathlib import Path  # noqa: TC003 - msgspec reads the fields' types
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.backends.wasm.cache import CompiledModules
from injector.backends.wasm.detection import FlavourKind, flavour_kind
from injector.backends.wasm.host import WasmBackend
from injector.backends.wasm.instance import InstanceLimits
from injector.backends.wasm.module_file import read_module
from injector.backends.wasm.reactor import ReactorFlavour
from injector.backends.wasm.runtime import Runtime
from injector.errors import PluginRefused

if TYPE_CHECKING:
    from injector.backends.discovery import Candidate
    from injector.backends.wasm.flavour import Flavour, GuestConfiguration
    from injector.telemetry.logs import Log


class WasmOptions(Struct, frozen=True):
    """How modules are run: `cache` is the directory of compiled ones, None for none; `limits` are each instance's."""

    cache: Path | None = None
    limits: InstanceLimits = InstanceLimits()


async def start_wasm(
    candidate: Candidate, *, configuration: GuestConfiguration, options: WasmOptions, log: Log
) -> WasmBackend:
    """
    The backend for a module that discovery found, with one connection's settings.

    Compiling takes seconds where no compiled module is kept; it goes on on its thread when this is cancelled.

    Raises:
        PluginRefused: it may not be used, or is no plugin.
        PluginIntegrity: its bytes are not those of the lock file.
        WasmRuntimeMissing: wasmtime is not installed.
        InvalidConfiguration: it takes no settings, and there are some.
    """
    return await asyncio.to_thread(_started, candidate, configuration, options, log)


def _started(candidate: Candidate, configuration: GuestConfiguration, options: WasmOptions, log: Log) -> WasmBackend:
    name = str(candidate)
    wasm = read_module(candidate)
    runtime = Runtime.shared()
    module = CompiledModules(runtime, options.cache, log).get(wasm, name)
    flavour: Flavour
    match flavour_kind(module, name):
        case FlavourKind.REACTOR:
            flavour = ReactorFlavour(
                runtime, module, name=name, configuration=configuration, limits=options.limits, log=log
            )
        case FlavourKind.EXTISM:
            raise PluginRefused(
                f"{name} is refused: it is an Extism plugin, and this version of injector has no host for those",
                hint="build it as a reactor plugin",
            )
    return WasmBackend(name, flavour)


def precompiled(candidate: Candidate, cache: Path | None, log: Log) -> tuple[Path, bool]:
    """
    Compiles a module and keeps the result: its file, and whether there was something to do.

    Raises what `start_wasm` raises, OutputError when it cannot be kept.
    """
    name = str(candidate)
    wasm = read_module(candidate)
    return CompiledModules(Runtime.shared(), cache, log).precompile(wasm, name)
