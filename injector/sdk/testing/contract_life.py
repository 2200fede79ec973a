"""The contract of every go-plugin program, whatever protocol it speaks: its start, its end, and what it prints."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from injector.sdk.handshake import COOKIE_NAME
from injector.sdk.testing.contract_case import PluginCase
from injector.sdk.testing.process import is_running

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from injector.sdk.testing.host import FakeHost

_RUN_BY_HAND = 60.0  # seconds
_WITHOUT_A_HOST = 20.0  # seconds


class StartAndEnd(PluginCase):
    """Tests of a plugin's life."""

    def test_it_starts_and_shakes_hands_in_time(self, start: Callable[..., FakeHost]) -> None:
        begin = time.monotonic()
        host = start()
        assert time.monotonic() - begin < self.start_within
        assert host.handshake.network in {"unix", "tcp"}

    def test_health_is_serving(self, host: FakeHost) -> None:
        assert host.health() == "SERVING"

    def test_it_serves_in_the_directory_that_its_host_gives(self, start: Callable[..., FakeHost]) -> None:
        with tempfile.TemporaryDirectory(prefix="host-") as directory:
            host = start(PLUGIN_UNIX_SOCKET_DIR=directory)
            assert str(Path(host.handshake.address).parent) == directory
            host.shut_down()
            assert host.wait(self.ends_within) is not None
            assert list(Path(directory).iterdir()) == []

    @pytest.mark.parametrize("cookie", [{}, {COOKIE_NAME: "of another program"}], ids=["none", "another"])
    def test_without_the_cookie_it_says_that_it_is_a_plugin_and_ends_with_1(
        self, plugin_command: Sequence[str], plugin_environment: Mapping[str, str], cookie: Mapping[str, str]
    ) -> None:
        environment = {**os.environ, **plugin_environment}
        environment.pop(COOKIE_NAME, None)
        done = subprocess.run(  # noqa: S603 - the plugin under test
            [*plugin_command],
            env={**environment, **cookie},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_RUN_BY_HAND,
        )
        assert done.returncode == 1
        assert b"plugin" in done.stderr
        assert done.stdout == b""

    def test_shutdown_ends_it_in_time_and_leaves_nothing(self, host: FakeHost) -> None:
        host.shut_down()
        assert host.wait(self.ends_within) == 0
        assert host.socket_files == ()
        assert host.processes == ()

    def test_sigterm_ends_it_in_time(self, host: FakeHost) -> None:
        host.terminate()
        assert host.wait(self.ends_within) is not None
        assert host.processes == ()

    def test_at_sigterm_it_removes_its_socket(self, host: FakeHost) -> None:
        if not self.removes_its_socket_at_sigterm:
            pytest.skip("this plugin leaves its socket behind at SIGTERM")
        host.terminate()
        assert host.wait(self.ends_within) is not None
        assert host.socket_files == ()

    def test_ctrl_c_is_the_hosts_business(self, host: FakeHost) -> None:
        host.interrupt()
        assert host.wait(0.5) is None
        assert host.health() == "SERVING"

    def test_it_ends_when_its_host_is_killed(
        self, plugin_command: Sequence[str], plugin_environment: Mapping[str, str]
    ) -> None:
        if not self.ends_with_its_host:
            pytest.skip("this plugin lives on when its host is killed")
        with tempfile.TemporaryDirectory(prefix="killed-") as directory:
            holder = subprocess.Popen(  # noqa: S603 - the plugin under test
                [sys.executable, "-m", "injector.sdk.testing.holding", *plugin_command],
                env={**os.environ, **plugin_environment, "TMPDIR": directory},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            with holder:
                assert holder.stdout is not None
                pid = int(holder.stdout.readline())
                assert is_running(pid)
                holder.kill()
            deadline = time.monotonic() + _WITHOUT_A_HOST
            while is_running(pid) and time.monotonic() < deadline:
                time.sleep(0.02)
            if is_running(pid):
                os.kill(pid, 9)
                raise AssertionError(f"the plugin lives on, {_WITHOUT_A_HOST:g} seconds after its host was killed")
            assert [path for path in Path(directory).rglob("*") if path.is_socket()] == []
