"""What is known of a plugin's process whoever started it: its end, and what came over the connection."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from injector.backends.goplugin.hclog import PluginLog
from injector.telemetry.logs import Level

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from injector.telemetry.logs import Log


class Ending(Protocol):
    """A process whose end can be waited for."""

    def wait(self) -> Awaitable[object]:
        """Returns when it has ended."""


C = TypeVar("C", bound=Ending)


class RunningProcess(Generic[C]):
    """The process *child* of the plugin *name* (as errors call it); *plugin* is its name in the log."""

    def __init__(self, name: str, child: C, log: Log, plugin: str) -> None:
        self.name = name
        self.child = child
        self._printed = {
            stream: PluginLog(log, plugin=plugin, stream=stream, plain=Level.INFO) for stream in ("stdout", "stderr")
        }

    def log_printed(self, stream: str, data: bytes) -> None:
        """Takes what was printed to *stream* (stdout or stderr) and came over the connection instead of the pipe."""
        self._printed[stream].feed(data)

    def finish_printed(self) -> None:
        """The connection brings no more: begun lines are taken as lines."""
        for log in self._printed.values():
            log.finish()

    async def wait(self, seconds: float) -> None:
        """Waits for the process to end by itself, at most *seconds*."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.child.wait(), seconds)
