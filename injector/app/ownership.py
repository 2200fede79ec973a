"""One writer for an output directory, waited for without holding up the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from injector.output.ownership import lock_output

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_PREDECESSOR = 5.0  # seconds for one before us to end


@contextlib.asynccontextmanager
async def only_writer(directory: Path | None) -> AsyncIterator[None]:
    """
    For the time of the context no other injector that asks for it writes to *directory*; it is made when missing.

    Waits a moment for one that is about to end. Raises OutputError.
    """
    if directory is None:
        yield
        return
    lock = await asyncio.to_thread(lock_output, directory, _PREDECESSOR)
    with lock:
        yield
