"""The span `pass` of a sidecar: from when something is fetched or rendered until nothing is under way."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from injector.telemetry.traces import Span, Tracer


class PassSpan:
    """
    Open while there is work; what is begun meanwhile, in tasks that inherit the context, is inside of it.

    Belongs to one task, which alone opens and closes it.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open = contextlib.ExitStack()
        self._span: Span | None = None

    @property
    def is_open(self) -> bool:
        return self._span is not None

    def open(self) -> None:
        """There is work; nothing to do when there was already."""
        if self._span is None:
            self._span = self._open.enter_context(self._tracer.span("pass"))

    def close(self, **attributes: float) -> None:
        """There is none any more."""
        if self._span is not None:
            self._span.set(**attributes)
            self._span = None
            self._open.close()
