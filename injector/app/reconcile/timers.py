"""All of the loop's times in one heap."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable


class Timers:
    """Times by name; each name has at most one. Times are those of `Clock.now`."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Hashable]] = []
        self._times: dict[Hashable, float] = {}
        self._order = itertools.count()

    def set(self, name: Hashable, when: float) -> None:
        """*name* comes at *when*, and no more when it was to come; infinity is never."""
        if when == float("inf"):
            self._times.pop(name, None)
        elif self._times.get(name) != when:
            self._times[name] = when
            heapq.heappush(self._heap, (when, next(self._order), name))

    def sooner(self, name: Hashable, when: float) -> None:
        """*name* comes at *when*, unless it comes before."""
        self.set(name, min(when, self._times.get(name, when)))

    def cancel(self, name: Hashable) -> None:
        """*name* does not come."""
        self._times.pop(name, None)

    def next(self) -> float | None:
        """When the first one comes."""
        while self._heap and self._times.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[Hashable]:
        """Those whose time has come, in order; they are gone then."""
        names: list[Hashable] = []
        while (when := self.next()) is not None and when <= now:
            name = heapq.heappop(self._heap)[2]
            del self._times[name]
            names.append(name)
        return names
