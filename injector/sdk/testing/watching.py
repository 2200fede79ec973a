"""A watch of protocol 2, read on a thread of its own, so that a test can wait for a change with a limit."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

from injector.errors import InjectorError, PluginAnswerInvalid

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self


class Watch:
    """
    An open watch: `with host.watch(["/a"]) as watch: watch.changed(within=10)`.

    Args:
        call: the stream, whose items are numbers.
        size: how many references are watched.
        failure: makes an error of gRPC's.
    """

    def __init__(self, call: Any, *, size: int, failure: Callable[[Any], InjectorError]) -> None:
        self._call = call
        self._size = size
        self._failure = failure
        self._told: queue.Queue[int | InjectorError | None] = queue.Queue()
        self._end: InjectorError | None = None
        self._is_over = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether the plugin has not ended it."""
        return not self._is_over.is_set()

    def changed(self, *, within: float) -> int | None:
        """
        The place, among the watched, of the next value that may have changed; None when *within* seconds bring none,
        or the plugin has ended the stream with OK.

        Raises the error of the status that ended it; PluginAnswerInvalid for a place that is not watched.
        """
        if self._end is not None:
            raise self._end
        try:
            told = self._told.get(timeout=within)
        except queue.Empty:
            return None
        if isinstance(told, InjectorError):
            self._end = told
            raise told
        return told

    def wait_for_end(self, within: float) -> bool:
        """Whether the stream is over, at the latest after *within* seconds."""
        return self._is_over.wait(within)

    def close(self) -> None:
        """Gives the watch up. May be called more than once."""
        self._call.cancel()
        self._reader.join()

    def _read(self) -> None:
        import grpc  # late: an author's other tests need none

        try:
            for place in self._call:
                if place >= self._size:
                    self._told.put(PluginAnswerInvalid(f"the plugin told of number {place} of {self._size} watched"))
                    return
                self._told.put(place)
            self._told.put(None)
        except grpc.RpcError as error:
            self._told.put(self._failure(error))
        finally:
            self._is_over.set()
            self._call.cancel()
