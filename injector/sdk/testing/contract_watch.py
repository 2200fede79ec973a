"""The contract of protocol 2's watches and leases. Skipped for plugins that have none."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from injector.errors import ResolutionError
from injector.sdk.store import Answer
from injector.sdk.testing.contract_case import PluginCase
from injector.sdk.testing.host import as_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from injector.sdk.testing.host import FakeHost, Question
    from injector.sdk.testing.watching import Watch

_PATIENCE = 30.0  # seconds until a change is told, or what a watch held is free again
_LOOK = 1.0  # seconds between two changes
_BEGINNING = 0.1  # seconds in which a watch has most likely begun
_GIVEN_UP = 20  # watches, more than a plugin may hold on to
_NO_LEASE = "no-lease-of-this-name"


class WatchAndRelease(PluginCase):
    """Tests of a plugin's watches, and of leases that are given back."""

    @pytest.fixture
    def watching(self, host2: FakeHost, change: Callable[[str], None] | None) -> FakeHost:
        """A host of a plugin that can watch."""
        if not host2.describe().can_watch:
            pytest.skip("this plugin cannot watch")
        assert change is not None, "the plugin can watch: override the fixture `change`"
        return host2

    def test_a_plugin_that_cannot_watch_refuses_it_and_stays_well(self, host2: FakeHost) -> None:
        if host2.describe().can_watch:
            pytest.skip("this plugin can watch")
        with host2.watch(self.known) as watch, pytest.raises(ResolutionError):
            watch.changed(within=_PATIENCE)
        self._assert_well(host2)

    def test_a_change_is_told_to_who_watches(self, watching: FakeHost, change: Callable[[str], None]) -> None:
        changed = list(self.known)[-1]
        _await_change(watching, list(self.known), changed, change)

    def test_two_watches_are_told_each(self, watching: FakeHost, change: Callable[[str], None]) -> None:
        path = next(iter(self.known))
        _await_change(watching, [path], path, change, watches=2)

    def test_watches_that_are_given_up_hold_nothing(self, watching: FakeHost, change: Callable[[str], None]) -> None:
        path = next(iter(self.known))
        for _ in range(_GIVEN_UP):
            with watching.watch([path]) as watch, contextlib.suppress(ResolutionError):
                watch.changed(within=_BEGINNING)
        _await_change(watching, [path], path, change)

    def test_a_watch_does_not_keep_it_from_ending(self, watching: FakeHost) -> None:
        with watching.watch(self.known) as watch:
            assert watching.health() == "SERVING"
            watching.shut_down()
            assert watching.wait(self.ends_within) == 0
            assert watch.wait_for_end(_PATIENCE)
            assert watching.socket_files == ()

    def test_a_lease_that_it_does_not_know_does_no_harm(self, host2: FakeHost) -> None:
        _release(host2, [_NO_LEASE])
        _release(host2, [])
        self._assert_well(host2)

    def test_leases_are_given_back(self, host2: FakeHost, is_released: Callable[[str], bool] | None) -> None:
        leased = self._leases(host2)
        if not leased:
            pytest.skip("no value of this plugin has a lease")
        assert len(set(leased)) == len(leased), "two leases have one id"
        assert is_released is not None, "the plugin gives leases: override the fixture `is_released`"
        assert [lease for lease in leased if is_released(lease)] == []
        host2.release(leased[:1])
        _release(host2, leased[:1])  # a second time
        assert [lease for lease in leased if is_released(lease)] == leased[:1]
        host2.release(leased[1:])
        assert [lease for lease in leased if is_released(lease)] == leased
        assert host2.health() == "SERVING"

    def _leases(self, host: FakeHost) -> list[str]:
        asked: list[Question] = [*self.known, *self.known_with_metadata]
        questions = [as_reference(question) for question in asked]
        size = host.describe().largest_batch
        return [
            outcome.lease.id
            for at in range(0, len(questions), size)
            for _, outcome in host.resolve(questions[at : at + size])
            if isinstance(outcome, Answer) and outcome.lease is not None
        ]


def _await_change(
    host: FakeHost, paths: Sequence[str], changed: str, change: Callable[[str], None], *, watches: int = 1
) -> None:
    # Again and again: nothing says when a watch has begun, and a stream may end at any time.
    deadline = time.monotonic() + _PATIENCE
    reason = "nothing came"
    while time.monotonic() < deadline:
        with contextlib.ExitStack() as stack:
            untold = {stack.enter_context(host.watch(paths)) for _ in range(watches)}
            try:
                while all(watch.is_open for watch in untold) and time.monotonic() < deadline:
                    change(changed)
                    untold = {watch for watch in untold if not _tells(watch, paths.index(changed))}
                    if not untold:
                        return
            except ResolutionError as error:
                reason = error.message
        time.sleep(_LOOK / 10)
    raise AssertionError(f"a change was not told within {_PATIENCE:g} s of asking: {reason}")


def _tells(watch: Watch, wanted: int) -> bool:
    # Others may be told, too: what may have changed need not have.
    deadline = time.monotonic() + _LOOK
    while (left := deadline - time.monotonic()) > 0 and watch.is_open:
        if watch.changed(within=left) == wanted:
            return True
    return False


def _release(host: FakeHost, leases: Sequence[str]) -> None:
    try:
        host.release(leases)
    except ResolutionError:
        assert host.is_alive
