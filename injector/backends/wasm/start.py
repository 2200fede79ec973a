"""From a module's file to a backend."""

from __future__ import annotations

import hashlib
from pathlib import Path  # noqa: TC003 - msgspec reads the fields' types
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from injector.backends.wasm.background import in_background
from injector.backends.wasm.cache import CompiledModules
from injector.backends.wasm.detection import FlavourKind, flavour_kind
from injector.backends.wasm.extism import ExtismFlavour
from injector.backends.wasm.host import WasmBackend
from injector.backends.wasm.http_client import HttpClient
from injector.backends.wasm.http_import import http_functions
from injector.backends.wasm.instance import InstanceLimits
from injector.backends.wasm.manifest import read_manifest
from injector.backends.wasm.module_file import read_module
from injector.backends.wasm.reactor import ReactorFlavour
from injector.backends.wasm.runtime import Runtime
from injector.backends.wasm.terms import terms_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from injector.backends.discovery import Candidate
    from injector.backends.wasm.fates import Fates
    from injector.backends.wasm.flavour import Flavour, GuestConfiguration
    from injector.telemetry.logs import Log


class WasmOptions(Struct, frozen=True):
    """How modules are run: `cache` is the directory of compiled ones, None for none; `limits` are each instance's."""

    cache: Path | None = None
    limits: InstanceLimits = InstanceLimits()


async def start_wasm(
    candidate: Candidate,
    *,
    configuration: GuestConfiguration,
    options: WasmOptions,
    environment: Mapping[str, str] | None = None,
    log: Log,
    fates: Fates | None = None,
) -> WasmBackend:
    """
    The backend for a module that discovery found, with one connection's settings. Guests get nothing of *environment*;
    the proxies of their HTTP are in it. *fates* is what the backends of all connections of the module share.

    Compiling takes seconds where no compiled module is kept; it goes on on its thread when this is cancelled.

    Raises:
        PluginRefused: it may not be used, or is no plugin.
        PluginIntegrity: its bytes are not those of the lock file.
        WasmRuntimeMissing: wasmtime is not installed.
        InvalidConfiguration: it takes no settings, and there are some.
    """
    return await in_background(lambda: _started(candidate, configuration, options, environment or {}, log, fates))


def _started(
    candidate: Candidate,
    configuration: GuestConfiguration,
    options: WasmOptions,
    environment: Mapping[str, str],
    log: Log,
    fates: Fates | None,
) -> WasmBackend:
    name = str(candidate)
    wasm = read_module(candidate)
    runtime = Runtime.shared()
    module = CompiledModules(runtime, options.cache, log).get(wasm, name)
    terms = terms_of(configuration.settings, connection=configuration.shown)
    for secret in terms.secrets:
        log.redactor.add(secret)
    configuration = msgspec.structs.replace(configuration, settings=terms.settings)
    client = HttpClient(terms.policy, terms.signers, environment=environment, log=log, identity=configuration.key)
    flavour: Flavour
    match flavour_kind(module, name):
        case FlavourKind.REACTOR:
            flavour = ReactorFlavour(
                runtime,
                module,
                name=name,
                configuration=configuration,
                limits=options.limits,
                log=log,
                functions=http_functions(client),
            )
        case FlavourKind.EXTISM:
            manifest = read_manifest(candidate, hashlib.sha256(wasm).hexdigest())
            flavour = ExtismFlavour(
                runtime,
                module,
                name=name,
                configuration=configuration,
                manifest=manifest,
                limits=options.limits,
                client=client.narrowed_by(manifest),
                log=log,
            )
    return WasmBackend(name, flavour, fates)


def precompiled(candidate: Candidate, cache: Path | None, log: Log) -> tuple[Path, bool]:
    """
    Compiles a module and keeps the result: its file, and whether there was something to do.

    Raises what `start_wasm` raises, OutputError when it cannot be kept.
    """
    name = str(candidate)
    wasm = read_module(candidate)
    return CompiledModules(Runtime.shared(), cache, log).precompile(wasm, name)
