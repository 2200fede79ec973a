"""
What a plugin prints, kept for the host's GRPCStdio stream.

File descriptor 1 and `sys.stderr` become pipes after the handshake. Descriptor 2 stays the host's: log lines and the
last words of a crash go there. Whoever prints is never blocked for ever: the pipes are always emptied, and when the
host does not fetch, the oldest output is dropped.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STDOUT = 1
STDERR = 2
CHUNK = 1024  # bytes in one message, as go-plugin's own server sends them
CAPACITY = 64 * 1024  # bytes kept for a host that does not fetch: as much as a pipe holds


class Output:
    """A bounded queue of printed bytes: one side never waits, the other does."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._size = 0
        self._changed = threading.Condition()
        self._closed = False
        self._reader = 0

    def add(self, channel: int, data: bytes) -> None:
        """Keeps *data*, at the cost of the oldest when there is too much. Never blocks."""
        with self._changed:
            self._chunks.append((channel, data))
            self._size += len(data)
            while self._size > self._capacity:
                self._size -= len(self._chunks.popleft()[1])
            self._changed.notify_all()

    def close(self) -> None:
        """Ends all readers once they have what is there."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Makes readers look again whether they are still wanted."""
        with self._changed:
            self._changed.notify_all()

    def read(self, is_wanted: Callable[[], bool]) -> Iterator[tuple[int, bytes]]:
        """
        Channel and bytes as they come, each piece once.

        Ends after `close`, when *is_wanted* says so (looked at after every `wake`), or when another reader starts:
        a host that has connected again goes before the connection that it lost.
        """
        with self._changed:
            self._reader += 1
            reader = self._reader
            self._changed.notify_all()
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._chunks or self._closed or self._reader != reader or not is_wanted()
                )
                if not self._chunks or self._reader != reader or not is_wanted():
                    return
                channel, data = self._chunks.popleft()
                self._size -= len(data)
            yield channel, data


class Capture:
    """The pipes. `readers` maps a descriptor to poll to its channel; `pump` moves what is there to `output`."""

    def __init__(self, output: Output) -> None:
        self._output = output
        out_read, out_write = os.pipe()
        error_read, error_write = os.pipe()
        self.readers = {out_read: STDOUT, error_read: STDERR}
        self._out_write = out_write
        self._error_write = error_write

    def install(self) -> int:
        """Redirects what is printed from now on. Returns a descriptor of the standard output that was there before."""
        sys.stdout.flush()
        original = os.dup(1)
        os.dup2(self._out_write, 1)  # children that inherit it cannot disturb the host either
        os.close(self._out_write)
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)
        sys.stderr.flush()
        sys.stderr = open(  # noqa: SIM115, PTH123 - lives as long as the process; a descriptor, not a path
            self._error_write, "w", buffering=1, encoding="utf-8", errors="backslashreplace"
        )
        return original

    def pump(self, fd: int) -> bool:
        """Reads once from *fd*, a key of `readers` that has data. False at its end."""
        data = os.read(fd, CHUNK)
        if data:
            self._output.add(self.readers[fd], data)
        return bool(data)
