"""The span `pass` of a sidecar: from when something is fetched or rendered until nothing is under way."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from injector.telemetry.traces import Span, Tracer

LONGEST = 60.0
"""Seconds after which what is begun goes into a new span: with a store that hangs there may always be something."""


class PassSpan:
    """
    Open while there is work; what is begun meanwhile, in tasks that inherit the context, is inside of it.

    Belongs to one task, which alone opens and closes it.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open = contextlib.ExitStack()
        self._span: Span | None = None
        self._since = 0.0

    @property
    def is_open(self) -> bool:
        return self._span is not None

    def open(self, now: float) -> None:
        """There is work at *now* (monotonic); nothing to do when there was already."""
        if now - self._since > LONGEST:
            self.close()
        if self._span is None:
            self._since = now
            self._span = self._open.enter_context(self._tracer.span("pass"))

    def close(self, **attributes: float) -> None:
        """There is none any more."""
        if self._span is not None:
            self._span.set(**attributes)
            self._span = None
            self._open.close()
