"""What a test class of the contract says about its plugin, and the fixtures that start it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from injector.sdk.testing.host import FakeHost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


class PluginCase:
    """
    The plugin under test. What a plugin cannot do is said here, and its tests are skipped with that reason.

    `command`, `environment`: how to start it. Where these are known at run time only, override the fixtures
    `plugin_command` and `plugin_environment`.
    """

    command: ClassVar[Sequence[str]] = ()
    environment: ClassVar[Mapping[str, str]] = {}

    known: ClassVar[Mapping[str, str]] = {}
    """Paths and their values; at least one. A value of six characters or more is also looked for in the log."""

    missing: ClassVar[str] = ""
    """A path that has no value."""

    known_with_metadata: ClassVar[Mapping[tuple[str, str], str]] = {}
    """(path, text between the brackets) and the value; empty for a plugin that knows no metadata."""

    noisy: ClassVar[str] = ""
    """A path of `known` whose answer makes the plugin print to standard output; empty when it never prints."""

    start_within: ClassVar[float] = 10.0
    """Seconds until the plugin serves."""

    ends_with_its_host: ClassVar[bool] = True
    """It ends when its host is killed. Programs that use HashiCorp's library live on."""

    removes_its_socket_at_sigterm: ClassVar[bool] = True
    """Programs that use HashiCorp's library leave it."""

    takes_large_requests: ClassVar[bool] = True
    """It takes requests over 4 MiB, gRPC's own limit, which programs that use HashiCorp's library keep."""

    @pytest.fixture
    def plugin_command(self) -> Sequence[str]:
        """Program and arguments."""
        return self.command

    @pytest.fixture
    def plugin_environment(self) -> Mapping[str, str]:
        """Variables beside those of the tests."""
        return self.environment

    @pytest.fixture
    def start(
        self, plugin_command: Sequence[str], plugin_environment: Mapping[str, str]
    ) -> Iterator[Callable[..., FakeHost]]:
        """`start(NAME="value")`: the plugin with further variables; ended after the test."""
        hosts: list[FakeHost] = []

        def start(**variables: str) -> FakeHost:
            host = FakeHost(
                plugin_command, environment={**plugin_environment, **variables}, start_timeout=self.start_within
            )
            host.start()
            hosts.append(host)
            return host

        yield start
        for host in hosts:
            host.close()

    @pytest.fixture
    def host(self, start: Callable[..., FakeHost]) -> FakeHost:
        """A host that has started the plugin."""
        return start()
