"""Gives memory back to the system after large results: a sidecar is small most of the time."""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WORTH = 4 * 1024 * 1024
"""Bytes of results after which it pays."""


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
