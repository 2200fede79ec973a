"""
What an Extism guest imports beside the kernel: configuration, variables, HTTP, its log.

Every function gets the running instance; what belongs to it alone (`Context`) lies in its `state` and ends with it.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import msgspec
from msgspec import Meta, Struct

from injector.backends.wasm.detection import EXTISM_MODULE
from injector.backends.wasm.host_function import HostFunction, WasmType
from injector.backends.wasm.http_client import HttpRequest, HttpResponse
from injector.backends.wasm.http_import import seconds_left
from injector.errors import PluginAnswerInvalid, PluginGuestFailed
from injector.telemetry.logs import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from injector.backends.wasm.extism_kernel import Kernel
    from injector.backends.wasm.http_client import HttpClient
    from injector.backends.wasm.instance import Instance

_STATE: Final = "extism"
_LONGEST_NAME: Final = 64 * 1024  # bytes
_LONGEST_LINE: Final = 4000
_MOST_LINES: Final = 1000
# In the order of Extism's numbers, from 0.
_LEVELS: Final = {
    "trace": Level.TRACE,
    "debug": Level.DEBUG,
    "info": Level.INFO,
    "warn": Level.WARNING,
    "error": Level.ERROR,
}
_OFF: Final = 0x7FFFFFFF


class Context:
    """
    What one instance has: its kernel, its variables, the last response. It lives as long as the instance does.

    *config* is what `config_get` answers, *most_variable_bytes* bounds names and values together.
    """

    def __init__(
        self, kernel: Kernel, client: HttpClient, config: Mapping[str, str], *, most_variable_bytes: int
    ) -> None:
        self.kernel = kernel
        self.client = client
        self.config = config
        self.most_variable_bytes = most_variable_bytes
        self.variables: dict[bytes, bytes] = {}
        self.response: HttpResponse | None = None
        self.lines = 0

    def attach(self, instance: Instance) -> None:
        """Makes it the context of *instance*."""
        instance.state[_STATE] = self

    @staticmethod
    def of(instance: Instance) -> Context:
        """The context of *instance*."""
        return cast("Context", instance.state[_STATE])


class _Meta(Struct, frozen=True):
    url: str
    method: str | None = None
    headers: dict[str, str] | None = None
    header: dict[str, str] | None = None  # the name that older kits use
    # Beyond Extism: see docs/wasm-plugins.md.
    timeout_ms: Annotated[int, Meta(ge=1)] | None = None
    rate_limit: Annotated[float, Meta(ge=1e-6, le=1e6)] | None = None


def _config_get(instance: Instance, name: int) -> int:
    context = Context.of(instance)
    key = _taken(context.kernel, name)
    value = context.config.get(key.decode("utf-8", "replace"))
    return context.kernel.put(value.encode()) if value is not None else 0


def _var_get(instance: Instance, name: int) -> int:
    context = Context.of(instance)
    return context.kernel.put(context.variables.get(_taken(context.kernel, name), b""))


def _var_set(instance: Instance, name: int, value: int) -> None:
    context = Context.of(instance)
    key = context.kernel.read(name, most=_LONGEST_NAME)
    if value == 0:
        context.variables.pop(key, None)
        return
    data = context.kernel.read(value, most=context.most_variable_bytes)
    others = sum(len(known) + len(held) for known, held in context.variables.items() if known != key)
    if others + len(key) + len(data) > context.most_variable_bytes:
        raise PluginGuestFailed(
            f"{instance.name} keeps more than {context.most_variable_bytes} bytes in variables",
            hint="variables last as long as an instance, which is one call",
        )
    context.variables[key] = data


def _http_request(instance: Instance, meta: int, body: int) -> int:
    context = Context.of(instance)
    context.response = None
    policy = context.client.policy
    try:
        asked = msgspec.json.decode(context.kernel.read(meta, most=policy.max_header_bytes * 2), type=_Meta)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise PluginAnswerInvalid(f"{instance.name} asks for HTTP in what is no request of Extism") from None
    data = context.kernel.read(body, most=policy.max_request_bytes) if body else b""
    headers = asked.headers if asked.headers is not None else asked.header or {}
    timeout = None if asked.timeout_ms is None else asked.timeout_ms / 1000
    request = HttpRequest(
        asked.method or "GET", asked.url, tuple(headers.items()), data, timeout=timeout, rate=asked.rate_limit
    )
    context.response = context.client.send(request, seconds_left(instance))
    return context.kernel.put(context.response.body)


def _http_status_code(instance: Instance) -> int:
    response = Context.of(instance).response
    return response.status if response is not None else 0


def _http_headers(instance: Instance) -> int:
    context = Context.of(instance)
    if context.response is None:
        return 0
    joined: dict[str, str] = {}
    for name, value in context.response.headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return context.kernel.put(json.dumps(joined).encode())


def _log(instance: Instance, handle: int, *, level: Level) -> None:
    context = Context.of(instance)
    if context.lines < _MOST_LINES and instance.log.is_enabled(level):
        context.lines += 1
        text = context.kernel.read(handle, most=instance.limits.memory).decode("utf-8", "replace")
        text = instance.log.redactor.clean(text)[:_LONGEST_LINE]  # before the cut, which could go through a secret
        instance.log.write(level, "a WASM plugin says", plugin=instance.name, text=text)
    context.kernel.free(handle)


def _get_log_level(instance: Instance) -> int:
    enabled = (number for number, level in enumerate(_LEVELS.values()) if instance.log.is_enabled(level))
    return next(enabled, _OFF)


def _taken(kernel: Kernel, handle: int) -> bytes:
    data = kernel.read(handle, most=_LONGEST_NAME)
    kernel.free(handle)
    return data


def _function(name: str, params: int, result: WasmType | None, function: Callable[..., Any]) -> HostFunction:
    one: WasmType = "i64"
    types = (one,) * params
    return HostFunction(EXTISM_MODULE, name, types, result, function, failed=0 if result else None)


FUNCTIONS: Final = (
    _function("config_get", 1, "i64", _config_get),
    _function("var_get", 1, "i64", _var_get),
    _function("var_set", 2, None, _var_set),
    _function("http_request", 2, "i64", _http_request),
    _function("http_status_code", 0, "i32", _http_status_code),
    _function("http_headers", 0, "i64", _http_headers),
    _function("get_log_level", 0, "i32", _get_log_level),
    *(_function(f"log_{name}", 1, None, partial(_log, level=level)) for name, level in _LEVELS.items()),
)
