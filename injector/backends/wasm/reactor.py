"""
The reactor flavour: a WASI preview 1 module with the buffer protocol of configmanager's WASM plugins.

The host writes a JSON message into memory that the guest allocated, with room for the answer, and calls
`strategy_token_value(inPtr, inLen, outPtr, outCap, outLenPtr) -> i32`. A guest whose answer needs more room says how
much, and is called again. Nothing that a guest says of pointers and lengths is taken for granted.

A module may also export `plugin_configure(ptr, len) -> i32`, called on every fresh instance with the connection's JSON
object, and `last_error(ptr, cap) -> i32`, which copies the text behind the last status (`KIND: text`, with the kinds of
`failures`, or just text) and returns its whole length.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from injector.backends.contract import Limits
from injector.backends.wasm.detection import refuse_foreign_imports
from injector.backends.wasm.exports import exported_types
from injector.backends.wasm.failures import failure, parsed, shown
from injector.backends.wasm.guest import InstanceGuest
from injector.backends.wasm.instance import Instance, InstanceLimits, Program
from injector.errors import (
    CallTimeout,
    InjectorError,
    InvalidConfiguration,
    InvalidReference,
    PluginAnswerInvalid,
    PluginError,
    PluginGuestFailed,
    PluginRefused,
    ValueEmpty,
)
from injector.model.references import Value
from injector.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wasmtime import Module

    from injector.backends.contract import Answer
    from injector.backends.wasm.deadline import Deadline
    from injector.backends.wasm.flavour import GuestConfiguration
    from injector.backends.wasm.host_function import HostFunction
    from injector.backends.wasm.runtime import Runtime
    from injector.model.references import Reference
    from injector.telemetry.logs import Log

_FIRST_CAPACITY: Final = 8 * 1024  # bytes: what a secret mostly fits into, in the 64 KiB that some guests have
_MOST_RETRIES: Final = 3  # a value that grows between two calls is too large again
_LONGEST_ERROR: Final = 2000
_OK, _TOO_SMALL, _INTERNAL, _NO_STORE, _NO_VALUE = 0, -1, -4, -6, -7
_SEE_LOG: Final = "what the plugin printed is in the log at level debug"

# Exports and their types. The first are the protocol's; the others are used when they are there.
_NEEDED: Final = {
    "memory": "memory",
    "allocate": "(i32) -> (i32)",
    "strategy_token_value": "(i32, i32, i32, i32, i32) -> (i32)",
}
_OPTIONAL: Final = {
    "_initialize": "() -> ()",
    "deallocate": "(i32, i32) -> ()",
    "plugin_configure": "(i32, i32) -> (i32)",
    "last_error": "(i32, i32) -> (i32)",
}


class ReactorFlavour:
    """
    A reactor plugin with one connection.

    Args:
        runtime: the engine that compiled *module*.
        module: the compiled module.
        name: the plugin's for messages.
        configuration: what every fresh instance is given.
        limits: of each instance.
        log: what guests print goes there; its redactor cleans what they say.
        functions: what the module may import beside WASI.

    Raises PluginRefused when the module lacks an export, has one of another type, or wants an import that is not there.
    """

    def __init__(
        self,
        runtime: Runtime,
        module: Module,
        *,
        name: str,
        configuration: GuestConfiguration,
        limits: InstanceLimits,
        log: Log,
        functions: Sequence[HostFunction] = (),
    ) -> None:
        _refuse_other_exports(module, name)
        refuse_foreign_imports(module, {(each.module, each.name) for each in functions}, name)
        self._program = Program(runtime, module, functions, name=name)
        self._name = name
        self._configuration = configuration
        self._limits = limits
        self._log = log
        if configuration.settings and "plugin_configure" not in self._program.exports:
            raise InvalidConfiguration(
                f"{name} was given settings ({configuration.shown}) and has no plugin_configure to take them",
                hint="remove the settings, or use a plugin that exports plugin_configure",
            )

    @property
    def limits(self) -> Limits:
        # Small: an instance costs a millisecond, and batches run side by side.
        return Limits(largest_batch=4, most_in_flight=8)

    def open(self, deadline: Deadline) -> ReactorGuest:
        """See `flavour.Flavour.open`."""
        instance = Instance(self._program, name=self._name, deadline=deadline, limits=self._limits, log=self._log)
        guest = ReactorGuest(instance)
        try:
            if instance.has("plugin_configure"):
                guest.configure(self._configuration)
        except BaseException:
            instance.close()
            raise
        return guest


class ReactorGuest(InstanceGuest):
    """A fresh instance of a reactor; see `flavour.Guest`."""

    def configure(self, configuration: GuestConfiguration) -> None:
        """Gives the guest its settings. Raises InvalidConfiguration when it does not take them, or what a call does."""
        data = _json(dict(configuration.settings))
        status = self._instance.call("plugin_configure", self._placed(data), len(data))
        if status != _OK:
            raise self._refused(configuration, status, self._last_error())

    def answers(self, references: Sequence[Reference]) -> Iterator[Answer]:
        """Answers until the first error: after that the instance is not used."""
        for reference in references:
            try:
                data = self._value(reference)
            except InjectorError as error:
                yield reference, error
                return
            yield reference, Value(Secret(data))

    def call(self, export: str, data: bytes) -> bytes:
        """What *export* gives for *data*, by the buffer protocol: its type is that of `strategy_token_value`."""
        exported = self._instance.exported_type(export)
        if exported != _NEEDED["strategy_token_value"]:
            raise PluginError(
                f"{self._instance.name} has {f'an export {export} of the type {exported}' if exported else 'no'} "
                f"{'and' if exported else f'export {export}, and'} only functions {_NEEDED['strategy_token_value']} "
                "can be called",
                hint="leave --input away to ask it for the value of a token",
            )
        return self._exchanged(export, data, f"the call of {export}")

    # ------------------------------------------------------------------------------------------ the buffer protocol

    def _value(self, reference: Reference) -> bytes:
        value = self._exchanged("strategy_token_value", _message(reference), reference)
        if not value:
            raise ValueEmpty(
                f"{self._instance.name} gave an empty value for {reference}",
                hint="a panic in the plugin looks the same; if the value may be empty, make the token optional",
            )
        return value

    def _exchanged(self, export: str, message: bytes, what: object) -> bytes:
        length_at = self._allocated(4)
        pointer = self._placed(message)
        capacity = _FIRST_CAPACITY
        for _ in range(1 + _MOST_RETRIES):
            room = self._allocated(capacity)
            self._instance.write(length_at, b"\0\0\0\0")
            status = self._instance.call(export, pointer, len(message), room, capacity, length_at)
            if status not in (_OK, _TOO_SMALL):
                raise self._error(status, what)
            (length,) = struct.unpack("<I", self._instance.read(length_at, 4))
            if length > self._instance.limits.answer and (status == _TOO_SMALL or length <= capacity):
                raise self._too_large(length, what)
            if status == _OK and length <= capacity:
                answer = self._instance.read(room, length)
                for address, size in ((room, capacity), (pointer, len(message)), (length_at, 4)):
                    self._freed(address, size)
                return answer
            if (status == _OK) or length <= capacity:
                raise self._invalid(f"gave status {status} and {length} bytes of {capacity} for {what}")
            self._freed(room, capacity)
            capacity = length
        raise self._invalid(f"asks for a larger buffer again and again for {what}")

    def _too_large(self, length: int, what: object) -> PluginAnswerInvalid:
        return PluginAnswerInvalid(
            f"{self._instance.name} answered {what} with {length} bytes, "
            f"and {self._instance.limits.answer} are the most for a value",
            hint="raise the setting plugins.maxValueSize if the value is meant to be so large",
        )

    def _error(self, status: int | None, what: object) -> InjectorError:
        name, said = self._instance.name, self._last_error()
        redactor = self._instance.log.redactor
        told = parsed(said)
        if told is not None and status in (_NO_STORE, _NO_VALUE):
            kind, after, text = told
            return failure(kind, text, plugin=name, what=what, redactor=redactor, retry_after=after)
        because = f": {shown(said, redactor)}" if said else ""
        if status in (_NO_STORE, _NO_VALUE):
            text = f"could not {'open its store for' if status == _NO_STORE else 'retrieve'} {what}{because}"
            return failure("unavailable", text, plugin=name, what=what, redactor=redactor)
        if status == _INTERNAL:
            return PluginGuestFailed(f"{name} failed inside at {what}{because}", hint=_SEE_LOG)
        if status in _MISUNDERSTOOD:
            return InvalidReference(
                f"{name} {_MISUNDERSTOOD[status]} for {what} (status {status}){because}",
                hint="the plugin was built for another version of the protocol, or is at fault",
            )
        return self._invalid(f"answered {what} with the unknown status {status}{because}")

    def _last_error(self) -> str:
        """What the guest says of its last failure; empty when it does not. Never raises InjectorError."""
        if not self._instance.has("last_error"):
            return ""
        try:
            room = self._allocated(_LONGEST_ERROR)
            length = self._instance.call("last_error", room, _LONGEST_ERROR) or 0
            data = self._instance.read(room, min(max(0, length), _LONGEST_ERROR))
        except CallTimeout:
            raise
        except InjectorError:
            return ""
        return data.decode("utf-8", "replace")

    def _placed(self, data: bytes) -> int:
        pointer = self._allocated(len(data))
        self._instance.write(pointer, data)
        return pointer

    def _allocated(self, size: int) -> int:
        pointer = (self._instance.call("allocate", size) or 0) & 0xFFFFFFFF
        if pointer == 0:
            raise PluginAnswerInvalid(
                f"{self._instance.name} has no room for {size} bytes: the value is larger than the memory that the "
                "plugin sets aside",
                hint="build the plugin with a larger arena, or with our SDK, whose arena grows",
            )
        self._instance.read(pointer, size)  # inside of its memory, or refused before anything is written
        return pointer

    def _freed(self, pointer: int, size: int) -> None:
        if self._instance.has("deallocate"):
            self._instance.call("deallocate", pointer, size)

    def _invalid(self, what: str) -> PluginAnswerInvalid:
        return PluginAnswerInvalid(f"{self._instance.name} {what}", hint="this is a fault of the plugin")


_MISUNDERSTOOD: Final = {
    -2: "says that the message is not UTF-8",
    -3: "says that the message is empty",
    -5: "cannot read the message",
}


def _message(reference: Reference) -> bytes:
    """The JSON message of configmanager's host, whose `version` is sent and empty."""
    message: dict[str, Any] = {"token": reference.path}
    pairs = (pair.partition("=") for pair in reference.metadata.split(",") if pair.strip())
    metadata = {name.strip(): value for name, _, value in pairs}
    if metadata:
        message["metadata"] = metadata
    return _json({**message, "version": ""})


def _json(value: dict[str, Any]) -> bytes:
    import json  # late: start-up

    return json.dumps(value, ensure_ascii=False).encode()


def _refuse_other_exports(module: Module, name: str) -> None:
    found = exported_types(module)
    for export, wanted in (_NEEDED | _OPTIONAL).items():
        has = found.get(export)
        if has is None and export in _NEEDED:
            raise PluginRefused(
                f"{name} is refused: a reactor plugin exports {export}, and it does not",
                hint="build it for wasip1 with -buildmode=c-shared; docs/wasm-plugins.md has the list",
            )
        if has not in (None, wanted):
            older = ", as older plugins had it" if export == "strategy_token_value" and has.count("i32") == 8 else ""
            raise PluginRefused(
                f"{name} is refused: its export {export} is {has}{older}, and {wanted} is expected",
                hint="build it anew against the present protocol; docs/wasm-plugins.md has it",
            )
