"""
One writer for each output directory: a flock(2) on the directory itself.

Nothing is left behind, neither a file nor, after a crash, the lock; and it holds across the containers that share a
volume. Locks of single publish calls (staging, sets) are on other files: they never meet this one.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.errors import OutputError
from injector.output.directories import Directories
from injector.output.failures import output_error
from injector.output.staging import lock

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_PAUSE = 0.05


class OutputLock(Struct):
    """A held lock; `close` (or the end of a `with`) lets go of it. `exclusive` is false where nothing can be locked."""

    exclusive: bool
    _descriptor: int

    def close(self) -> None:
        """Lets go of the lock. Any number of times."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def lock_output(directory: Path, wait: float = 0.0) -> OutputLock:
    """
    Takes the output directory *directory* for this process, or says who is in the way; makes it when it is missing.

    Waits up to *wait* seconds for another process to let go; this blocks the calling thread. On file systems
    without flock(2) there is no lock, and the answer says so. Raises OutputError.
    """
    try:
        with Directories() as directories:
            descriptor = os.dup(directories.below(directory, directory.__class__()).descriptor)
    except OSError as error:
        raise output_error(error, directory) from None
    try:
        exclusive = _wait_for(descriptor, directory, wait)
    except BaseException:
        os.close(descriptor)
        raise
    return OutputLock(exclusive, descriptor)


def _wait_for(descriptor: int, directory: Path, wait: float) -> bool:
    until = time.monotonic() + wait
    while True:
        try:
            locked = lock(descriptor)
        except OSError as error:
            raise output_error(error, directory) from None
        if locked is not False:
            return locked is True
        rest = until - time.monotonic()
        if rest <= 0:
            raise OutputError(
                f"another injector writes to {directory}",
                hint="stop the other one, or give each an --output-dir of its own",
            )
        time.sleep(min(_PAUSE, rest))
