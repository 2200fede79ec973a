"""
Between the engine and the notifier: what of all that is published the application must be told.

Told is what it may have read and is not so any more: a file whose content differs from what was there, also when it was
written by an earlier process, one that was removed, and one that is new after the start is over. Not told are the first
files of a fresh pod: the application starts after them.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from injector.app.reconcile.request import BatchSink, Result
    from injector.notify.notifier import Notifier


class News:
    """
    A sink around *sink*, which sees what was there before, and the engine's callbacks for published and removed files.

    Args:
        sink: where results go; it takes many at once.
        notifier: is told, in the thread of *loop*.
        is_started: whether the application may run: whoever waits for the first files waits no more.
    """

    def __init__(
        self, sink: BatchSink, notifier: Notifier, loop: asyncio.AbstractEventLoop, is_started: Callable[[], bool]
    ) -> None:
        self._sink = sink
        self._notifier = notifier
        self._loop = loop
        self._is_started = is_started
        self._new: set[str] = set()  # outputs that were not there before this process made them

    # ------------------------------------------------------------------------------------- the engine, in the loop

    def published(self, template: str, output: str, digest: str) -> None:
        """*output* has new content, whose hash is *digest*."""
        is_new = output in self._new
        self._new.discard(output)
        if is_new and not self._is_started():
            self._notifier.known(template, output, digest)
        else:
            self._notifier.changed(template, output, digest)

    def removed(self, template: str, output: str) -> None:
        """*output* is not there any more."""
        self._notifier.removed(template, output)

    # ---------------------------------------------------------------------------- the sink, in the publisher's thread

    def publish(self, result: Result) -> bool:
        """See Sink."""
        return self.publish_many((result,))[0]

    def publish_many(self, results: Sequence[Result]) -> Sequence[bool]:
        """See BatchSink."""
        self._look(results)
        many = self._sink.publish_many(results)
        self._tell([result for result, changed in zip(results, many, strict=True) if not changed])
        return many

    def publish_set(self, results: Sequence[Result]) -> bool:
        """See Sink."""
        self._look(results)
        changed = self._sink.publish_set(results)
        self._tell(() if changed else results)
        return changed

    def remove(self, path: Path, root: Path | None) -> bool:
        """See Sink."""
        return self._sink.remove(path, root)

    def _look(self, results: Sequence[Result]) -> None:
        self._new.update(str(result.path) for result in results if not os.path.lexists(result.path))

    def _tell(self, unchanged: Sequence[Result]) -> None:
        """A rollout's hash is over all files, so the notifier has to know of those that are what they were, too."""
        for result in unchanged:
            digest = hashlib.sha256(result.data.reveal()).hexdigest()
            self._loop.call_soon_threadsafe(self._notifier.known, result.template, str(result.path), digest)
