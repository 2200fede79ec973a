"""
The contract of a plugin as a test class. One module for each part of it: a plugin's life, and each protocol.

    class TestMyPlugin(PluginContract):
        command = [sys.executable, "-m", "my_plugin"]
        known = {"/a": "value of a"}
        missing = "/nope"
"""

from __future__ import annotations

import pytest

# Before their import, so that a failing assert shows what it compared.
pytest.register_assert_rewrite(
    "injector.sdk.testing.contract_case",
    "injector.sdk.testing.contract_life",
    "injector.sdk.testing.contract_protocol1",
    "injector.sdk.testing.contract_protocol2",
    "injector.sdk.testing.contract_watch",
)

from injector.sdk.testing.contract_life import StartAndEnd  # noqa: E402 - see above
from injector.sdk.testing.contract_protocol1 import Protocol1  # noqa: E402 - see above
from injector.sdk.testing.contract_protocol2 import Protocol2  # noqa: E402 - see above
from injector.sdk.testing.contract_watch import WatchAndRelease  # noqa: E402 - see above


class PluginContract(StartAndEnd, Protocol1, Protocol2, WatchAndRelease):
    """
    Everything that a host may expect of a plugin. Subclass it in a test module of pytest, with a name that begins with
    `Test`, and say which plugin: see `PluginCase` for what can be said.
    """

    def test_the_class_says_what_is_tested(self) -> None:
        assert self.known, "set `known` to at least one path and its value"
        assert self.missing, "set `missing` to a path without a value"
        assert self.missing not in self.known
