"""Who waits for a complete pass, and since when."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from injector.app.reconcile.clock import Clock
    from injector.app.reconcile.request import RefreshSummary


class Wish(Struct, frozen=True):
    """Done when all was looked at and asked for at `began` (monotonic) or later."""

    began: float
    future: concurrent.futures.Future[RefreshSummary]


class Wishes:
    """Those that are open."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: list[Wish] = []

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def latest(self) -> float | None:
        """When the last one began."""
        return self._open[-1].began if self._open else None

    def add(self, future: concurrent.futures.Future[RefreshSummary] | None = None) -> Wish:
        """A wish that begins now."""
        wish = Wish(self._clock.now(), future or concurrent.futures.Future())
        self._open.append(wish)
        return wish

    def fulfilled(self, done_since: float) -> list[Wish]:
        """Takes out those that are done when everything was done at *done_since* or later."""
        done = [wish for wish in self._open if wish.began <= done_since]
        self._open = [wish for wish in self._open if wish.began > done_since]
        return [wish for wish in done if wish.future.set_running_or_notify_cancel()]

    def cancel(self) -> None:
        """None will be fulfilled any more."""
        for wish in self._open:
            wish.future.cancel()
        self._open.clear()
