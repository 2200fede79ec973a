"""
The Extism flavour: a module on Extism's plugin kit, configured anew on every fresh instance.

The life of an instance: made, `plugin_configure` with the connection's JSON object, then `resolve` or whatever else is
called, closed. `ExtismFlavour.open` does the first two in one step, and nothing else gives a guest.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from injector.backends.contract import Limits
from injector.backends.wasm import extism_answers
from injector.backends.wasm.detection import EXTISM_MODULE, refuse_foreign_imports
from injector.backends.wasm.extism_functions import FUNCTIONS, Context
from injector.backends.wasm.extism_kernel import Kernel, kernel_exports, kernel_module
from injector.backends.wasm.failures import Said, failure, parsed, shown
from injector.backends.wasm.guest import InstanceGuest
from injector.backends.wasm.instance import Instance, Program
from injector.errors import PluginError, PluginRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wasmtime import Linker, Module

    from injector.backends.contract import Answer
    from injector.backends.wasm.deadline import Deadline
    from injector.backends.wasm.flavour import GuestConfiguration
    from injector.backends.wasm.http_client import HttpClient
    from injector.backends.wasm.instance import InstanceLimits
    from injector.backends.wasm.manifest import Manifest
    from injector.backends.wasm.runtime import Runtime
    from injector.model.references import Reference
    from injector.telemetry.logs import Log

_CONFIGURE: Final = "plugin_configure"
_RESOLVE: Final = "resolve"
_CALLABLE: Final = ("() -> (i32)", "() -> ()")
_LONGEST_ERROR: Final = 64 * 1024
_MOST_VARIABLE_BYTES: Final = 1 << 20


class ExtismFlavour:
    """
    An Extism plugin with one connection.

    Args:
        runtime: the engine that compiled *module*.
        module: the compiled module.
        name: the plugin's for messages.
        configuration: what every fresh instance is given; without the host's own part.
        manifest: the module author's own limits.
        limits: of each instance.
        client: the HTTP that the connection grants.
        log: what guests print and log goes there; its redactor cleans what they say.

    Raises PluginRefused when the module has no `plugin_configure`, or wants an import that is not there.
    """

    def __init__(
        self,
        runtime: Runtime,
        module: Module,
        *,
        name: str,
        configuration: GuestConfiguration,
        manifest: Manifest,
        limits: InstanceLimits,
        client: HttpClient,
        log: Log,
    ) -> None:
        self._kernel = kernel_module(runtime)
        offered = {(EXTISM_MODULE, each.name) for each in FUNCTIONS}
        offered |= {(EXTISM_MODULE, each) for each in kernel_exports(self._kernel)}
        refuse_foreign_imports(module, offered, name)
        self._program = Program(runtime, module, FUNCTIONS, bind=self._bind, name=name)
        if self._program.exports.get(_CONFIGURE) not in _CALLABLE:
            raise PluginRefused(
                f"{name} is refused: it has no export {_CONFIGURE}, which every instance of an Extism plugin is "
                "configured with before it is used",
                hint="add one that reads the JSON configuration, and returns 0",
            )
        self._name = name
        self._configuration = configuration
        self._manifest = manifest
        self._limits = msgspec.structs.replace(limits, memory=manifest.memory_bytes(limits.memory))
        self._client = client
        self._config = dict(manifest.config) | _as_texts(configuration.settings)
        self._log = log

    @property
    def limits(self) -> Limits:
        # The guest sees the whole batch, and may ask its store for all of it at once.
        return Limits(largest_batch=50, most_in_flight=8)

    def open(self, deadline: Deadline) -> ExtismGuest:
        """See `flavour.Flavour.open`."""
        deadline = self._manifest.deadline(deadline)
        instance = Instance(self._program, name=self._name, deadline=deadline, limits=self._limits, log=self._log)
        try:
            guest = ExtismGuest(instance)
            guest.configure(self._configuration)
        except BaseException:
            instance.close()
            raise
        return guest

    def _bind(self, instance: Instance, linker: Linker) -> None:
        kernel = Kernel(instance.store, self._kernel, self._name)
        kernel.define_in(linker)
        most = self._manifest.memory.max_var_bytes
        variables = _MOST_VARIABLE_BYTES if most is None else min(most, _MOST_VARIABLE_BYTES)
        Context(kernel, self._client, self._config, most_variable_bytes=variables).attach(instance)


class ExtismGuest(InstanceGuest):
    """A fresh instance; see `flavour.Guest`. Made by `ExtismFlavour.open`."""

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self._kernel = Context.of(instance).kernel

    def configure(self, configuration: GuestConfiguration) -> None:
        """
        Gives the guest its settings, before anything else is asked of it.

        Raises InvalidConfiguration when it does not take them, or what `Instance.call` raises.
        """
        status, said = self._call(_CONFIGURE, json.dumps(dict(configuration.settings), ensure_ascii=False).encode())
        if status or said is not None:
            raise self._refused(configuration, status, said or "")

    def answers(self, references: Sequence[Reference]) -> Iterator[Answer]:
        """See `flavour.Guest.answers`. One call of `resolve` for all."""
        if not self._instance.has(_RESOLVE):
            raise PluginError(
                f"{self._instance.name} has no export {_RESOLVE}, and so no values for tokens",
                hint="`injector plugin call` calls its other functions",
            )
        data = self.call(_RESOLVE, extism_answers.request(references))
        most, redactor = self._instance.limits.answer, self._instance.log.redactor
        yield from extism_answers.answers(data, references, plugin=self._instance.name, most=most, redactor=redactor)

    def call(self, export: str, data: bytes) -> bytes:
        """
        The output of *export* for the input *data*.

        Raises:
            PluginError: there is no such function, or it failed with a text that names no kind.
            ResolutionError: it failed with a text such as `throttled 1.5: …`, see `failures.KINDS`.
            InjectorError: what `Instance.call` raises.
        """
        status, said = self._call(export, data)
        if status or said is not None:
            raise self._failure(export, status, said or "")
        most = self._instance.limits.answer * 2  # base64 and JSON around a value
        return self._instance.run(lambda: self._kernel.output(most=most))

    def _call(self, export: str, data: bytes) -> tuple[int, str | None]:
        exported = self._instance.exported_type(export)
        if exported not in _CALLABLE or export.startswith("_"):
            raise PluginError(
                f"{self._instance.name} has no function {export} that can be called",
                hint=f"it can be asked for {', '.join(self._callable()) or 'nothing'}",
            )
        self._instance.run(lambda: self._kernel.begin(data))
        status = self._instance.call(export) or 0
        said = self._instance.run(lambda: self._kernel.error(most=_LONGEST_ERROR))
        return status, None if said is None else said.decode("utf-8", "replace")

    def _callable(self) -> list[str]:
        exports = self._instance.exports
        return sorted(name for name, kind in exports.items() if kind in _CALLABLE and not name.startswith("_"))

    def _failure(self, export: str, status: int, said: str) -> Exception:
        name, redactor = self._instance.name, self._instance.log.redactor
        told = parsed(said)
        if told is None and export != _RESOLVE:
            text = shown(said, redactor) or f"status {status}"
            return PluginError(f"{name}: {export} failed: {text}", hint="what it logs is shown with -vv")
        kind, after, text = told or Said("unavailable", None, said)
        return failure(kind, text, plugin=name, what="a batch", redactor=redactor, retry_after=after)


def _as_texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings for `config_get`, which knows texts only: others as JSON."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in settings.items()
    }
