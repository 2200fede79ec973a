"""What a test class of the contract says about its plugin, and the fixtures that start it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from injector.sdk.testing.host import PROTOCOLS, FakeHost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_TELLING = 6  # characters: shorter values are found in any log


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

    known_bytes: ClassVar[Mapping[str, bytes]] = {}
    """Paths and values that are no text; asked for in protocol 2 only."""

    prefix: ClassVar[str] = ""
    """Its token prefix, in upper case; empty for a plugin that answers for any name."""

    noisy: ClassVar[str] = ""
    """A path of `known` whose answer makes the plugin print to standard output; empty when it never prints."""

    start_within: ClassVar[float] = 10.0
    """Seconds until the plugin serves."""

    ends_within: ClassVar[float] = 2.0
    """Seconds until the plugin has ended once it was asked to: hosts then kill it. A loaded machine needs more."""

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
    def change(self) -> Callable[[str], None] | None:
        """
        Changes the value of a path of `known` in the store, each time to another one; asked of plugins that can watch.
        """
        return None

    @pytest.fixture
    def is_released(self) -> Callable[[str], bool] | None:
        """Whether the store has got a lease back, by its id; asked of plugins whose values have leases."""
        return None

    @pytest.fixture
    def start(
        self, plugin_command: Sequence[str], plugin_environment: Mapping[str, str]
    ) -> Iterator[Callable[..., FakeHost]]:
        """
        `start(NAME="value")`: the plugin with further variables; ended after the test.

        `protocols=(1,)` offers only that.
        """
        hosts: list[FakeHost] = []

        def start(*, protocols: Sequence[int] = PROTOCOLS, **variables: str) -> FakeHost:
            host = FakeHost(
                plugin_command,
                environment={**plugin_environment, **variables},
                protocols=protocols,
                start_timeout=self.start_within,
            )
            host.start()
            hosts.append(host)
            return host

        yield start
        for host in hosts:
            host.close()

    @pytest.fixture
    def host(self, start: Callable[..., FakeHost]) -> FakeHost:
        """A host that has started the plugin, in the highest protocol that it knows."""
        return start()

    @pytest.fixture
    def host1(self, start: Callable[..., FakeHost]) -> FakeHost:
        """A host that knows protocol 1 only."""
        return start(protocols=(1,))

    @pytest.fixture
    def host2(self, start: Callable[..., FakeHost]) -> FakeHost:
        """A host that knows both protocols, of a plugin that does."""
        host = start()
        if host.handshake.version == 1:
            pytest.skip("this plugin negotiates protocol 1 only")
        return host

    def _assert_well(self, host: FakeHost) -> None:
        assert host.health() == "SERVING"
        assert dict(zip(self.known, host.outcomes(self.known), strict=True)) == self.known

    def _values_told(self, host: FakeHost) -> list[object]:
        # What is asked for by a value that the closed plugin has logged or printed.
        said = everything_said(host)
        values = [*self.known.items(), *self.known_with_metadata.items()]
        return [asked for asked, value in values if len(value) >= _TELLING and value in said]


def everything_said(host: FakeHost) -> str:
    """What the plugin logged and printed: the log as it came, and its strings without JSON's escapes."""
    logged = "\n".join(f"{line.message} {' '.join(map(str, line.fields.values()))}" for line in host.log)
    return f"{host.stderr}\n{logged}\n{host.stdout}\n{host.printed_errors}"
