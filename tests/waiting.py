"""How long a test waits for what must happen: far longer than it takes, because machines are loaded many times over."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds; pytest gives a whole test twice as many."""

_BETWEEN_LOOKS = 0.02  # seconds


def eventually(look: Callable[[], T], what: object = "it") -> T:
    """What *look* gives once that is true. AssertionError with *what* (or its result, of a callable) after PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what() if callable(what) else what} did not come about in {PATIENCE} s"
        time.sleep(_BETWEEN_LOOKS)
    return found


async def until(look: Callable[[], T], what: object = "it") -> T:
    """As `eventually`, while the event loop goes on."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what() if callable(what) else what} did not come about in {PATIENCE} s"
        await asyncio.sleep(_BETWEEN_LOOKS)
    return found
