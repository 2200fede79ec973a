"""What is left behind by values: masks of the log for those in use, and memory of those that are not."""

from __future__ import annotations

import ctypes
import functools
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.app.reconcile.values import Entry, ValueCache
    from injector.telemetry.redaction import Redactor

WORTH = 4 * 1024 * 1024
"""Bytes of values and results after which memory is given back: a sidecar is small most of the time."""


class Memory:
    """Masks the values in use, and counts what went out of use."""

    def __init__(self, redactor: Redactor, cache: ValueCache) -> None:
        self._redactor = redactor
        self._cache = cache
        self._masked: list[bytes] = []
        self._must_mask = False
        self._freed = 0

    def freed(self, entry: Entry | None) -> None:
        """The value of *entry* goes out of use, or is replaced."""
        self._freed += len(entry.value.data) if entry is not None and entry.value is not None else 0
        self._must_mask = True

    def age(self) -> None:
        """A moment has passed: the values of the generation before may be forgotten."""
        self._must_mask = True

    def mask(self) -> None:
        """To be called when no answer is on its way: the log masks what is in use, and what was until now."""
        if not self._must_mask:
            return
        self._must_mask = False
        # Those of the generation before are masked for one more: a line about them may be under way.
        live = [entry.value.data.reveal() for entry in self._cache.entries() if entry.value is not None]
        self._redactor.retain(itertools.chain(live, self._masked))
        self._masked = live

    def is_worth_trimming(self, handled: int) -> bool:
        """Whether `trim` pays, when *handled* bytes of results went, too; counts from 0 again then."""
        if self._freed + handled < WORTH:
            return False
        self._freed = 0
        return True


def trim() -> None:
    """Asks the C library to give back what is free; nothing where it cannot (musl, macOS)."""
    if (function := _malloc_trim()) is not None:
        function(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
