"""Compiled WASM plugins ahead of time: for images, init containers, and machines that are too small to compile."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.app.build import search_path, verification, wasm_cache
from injector.backends.discovery import Kind, discover, find
from injector.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from injector.backends.discovery import Candidate
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log


class Precompiled(Struct, frozen=True):
    """A module and the file of its machine code. `compiled` is false when it was there; `seconds` is what it took."""

    name: str
    location: str
    file: Path
    compiled: bool
    seconds: float


def candidates(settings: Settings, names: Sequence[str], environment: Mapping[str, str]) -> tuple[Candidate, ...]:
    """
    The WASM plugins of these names, or all that would be used when there are none; each with its pin.

    Raises PluginNotFound, PluginRefused, PluginNotLocked, and PluginError for a plugin that is no module.
    """
    search = search_path(settings, environment)
    policy = verification(settings)
    if names:
        found = [find(search, name.upper()) for name in names]
    else:
        usable = (each for each in discover(search) if each.loses_to is None and each.refusal is None)
        found = [each for each in usable if each.kind is Kind.WASM]
    for candidate in found:
        if candidate.kind is not Kind.WASM:
            raise PluginError(f"{candidate} is no WASM module, and needs no compiling", hint="leave its name away")
    return tuple(policy.admit(candidate, search.platform) for candidate in found)


def precompile(
    found: Sequence[Candidate],
    settings: Settings,
    *,
    environment: Mapping[str, str],
    log: Log,
    begin: Callable[[Candidate, int], None],
) -> tuple[Precompiled, ...]:
    """
    Compiles each module that is not compiled yet, and keeps the results in the directory of the settings.

    *begin* is called before each with its size in bytes. Raises PluginRefused, PluginIntegrity, WasmRuntimeMissing,
    OutputError when a result cannot be kept.
    """
    from injector.backends.wasm.start import precompiled  # late: wasmtime

    results = []
    for candidate in found:
        began = time.monotonic()
        begin(candidate, Path(candidate.location).stat().st_size)
        file, compiled = precompiled(candidate, wasm_cache(settings, environment), log)
        seconds = time.monotonic() - began
        results.append(Precompiled(candidate.name, candidate.location, file, compiled, round(seconds, 3)))
    return tuple(results)
