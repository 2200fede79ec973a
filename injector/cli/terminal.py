"""What the terminal can show: colours, and a progress bar for work that takes longer than a second."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self

PATIENCE = 1.0  # seconds without a bar: shorter work needs none


def use_color(stream: TextIO) -> bool:
    """NO_COLOR, FORCE_COLOR and TERM=dumb as their conventions say; else whether *stream* is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 file`, `2 files`, `2 fetches`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


class Progress:
    """
    A bar on *stream*, drawn from the second second on, and only on a terminal.

    Call it with (done, all) as often as you like. Leaving the context wipes the bar.
    """

    def __init__(self, label: str, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._stream = stream
        self._clock = clock
        self._started = clock()
        self._enabled = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if not self._enabled or self._clock() - self._started < PATIENCE:
            return
        if self._bar is None:
            self._bar = click.progressbar(length=total, label=self._label, file=self._stream, show_pos=True)
            self._bar.__enter__()
        self._bar.update(done - self._bar.pos)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.render_finish()
