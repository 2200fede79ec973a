"""fsync(2) of several files at the same time: a file system that is asked for many writes them in one go."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor
    from types import TracebackType

AT_ONCE = 8
"""Files that are synced together; as many are open."""
_MANY = 5  # fewer are not worth threads


class Syncing:
    """A context in which `sync` has threads of its own; they have ended when it is left."""

    def __init__(self) -> None:
        self._threads: Executor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._threads is not None:
            self._threads.shutdown()

    def sync(self, descriptors: Sequence[int]) -> list[OSError | None]:
        """All of *descriptors*, at most AT_ONCE, are on disk then, but for those with an error; in their order."""
        if self._threads is None and len(descriptors) < _MANY:
            return [_sync(descriptor) for descriptor in descriptors]
        try:
            return list(self._executor().map(_sync, descriptors))
        except RuntimeError:  # there may be no more threads: a limit on processes
            return [_sync(descriptor) for descriptor in descriptors]

    def _executor(self) -> Executor:
        from concurrent.futures import ThreadPoolExecutor  # late: most publishes write one file

        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="injector-sync")
        return self._threads


def _sync(descriptor: int) -> OSError | None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        return error
    return None
