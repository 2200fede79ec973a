"""When a group of changes is ready to be looked at: at once, or after a silence. Pure; the caller has the clock."""

from __future__ import annotations


class Quiescence:
    """
    Groups changes: a settled one is due at once, an unsettled one after *shortest* seconds of silence.

    A steady stream of unsettled changes is due *longest* seconds after its first all the same. A settled change makes
    due what is pending, too: a file that is written in one place must not hold up a switch in another. Times are
    seconds of any clock that does not jump; both limits are at least 0, and *longest* at least *shortest*.
    """

    def __init__(self, shortest: float, longest: float) -> None:
        if not 0 <= shortest <= longest:
            raise ValueError("the silence is at least 0 seconds and at most the longest wait")
        self._shortest = shortest
        self._longest = longest
        self._first: float | None = None
        self._due = 0.0

    def hit(self, now: float, settled: bool) -> None:  # noqa: FBT001  told apart by type
        """There was a change at *now*; *settled* as in `watcher.Change`."""
        if self._first is None:
            self._first, self._due = now, now + self._shortest
        elif self._due > now:  # what is due stays due
            self._due = now + self._shortest
        self._due = now if settled else min(self._due, self._first + self._longest)

    def due(self, now: float) -> float | None:
        """Seconds from *now* until the pending changes are due, 0.0 when they are; None when nothing is pending."""
        return None if self._first is None else max(0.0, self._due - now)

    def take(self) -> None:
        """The pending changes are dealt with from here on; call it before looking, so that no later one is lost."""
        self._first = None
