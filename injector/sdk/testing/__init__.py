"""
For the tests of plugins: a host that starts any plugin, a harness without a process, and the contract as a test class.

    from injector.sdk.testing import FakeHost, PluginContract, resolve_in_process

    with FakeHost(["python", "-m", "my_plugin"]) as host:
        assert host.value("/path", "version=1") == "value"

    class TestMyPlugin(PluginContract):
        command = [sys.executable, "-m", "my_plugin"]
        known = {"/a": "value of a"}
        missing = "/nope"

Belongs here: what an author's tests, and ours of every plugin in this repository, hold against a plugin. Does not
belong here: the product's host, which this one is to be compared with and therefore shares no code with. Imported by
tests only; imports `injector.errors`, `injector._proto`, `injector.sdk`, the standard library, gRPC late, and pytest in
the modules of the contract.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from injector.sdk.testing.contract import PluginContract
    from injector.sdk.testing.host import FakeHost
    from injector.sdk.testing.in_process import resolve_in_process
    from injector.sdk.testing.process import LogLine

_HOMES = {"FakeHost": "host", "LogLine": "process", "PluginContract": "contract", "resolve_in_process": "in_process"}

__all__ = ["FakeHost", "LogLine", "PluginContract", "resolve_in_process"]


def __getattr__(name: str) -> object:
    # As in injector.sdk: pytest is imported for the contract only.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(f"injector.sdk.testing.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
