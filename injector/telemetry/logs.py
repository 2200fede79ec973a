"""
The log sink: events to standard error, as text or as JSON lines, redacted.

Events are constant strings, facts are keyword fields. structlog is imported at the first line that is written, not
before: most renders log nothing, and start-up is paid in every pod.
"""

from __future__ import annotations

import contextlib
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, TextIO

from injector.telemetry.redaction import Redactor

if TYPE_CHECKING:
    from typing import Any


class Level(IntEnum):
    TRACE = 5
    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40
    OFF = 100


class Log:
    """
    A logger that is handed down, never looked up.

    Args:
        level: the lowest level that is written.
        as_json: one JSON object a line instead of text.
        redactor: cleans every line; share it with whoever learns values.
        stream: where lines go; standard error by default.
    """

    def __init__(
        self,
        level: Level = Level.WARNING,
        *,
        as_json: bool = False,
        redactor: Redactor | None = None,
        stream: TextIO | None = None,
    ) -> None:
        self.level = level
        self.redactor = redactor or Redactor()
        self._as_json = as_json
        self._stream = stream
        self._render: Any = None

    def is_enabled(self, level: Level) -> bool:
        return level >= self.level

    def write(self, level: Level, event: str, **fields: object) -> None:
        """
        Writes one line, if *level* is enabled. Fields may be anything that has a text form.

        A stream that takes nothing (closed, disk full, reader gone) costs the line and nothing else.
        """
        if level < self.level:
            return
        if self._render is None:
            self._render = _renderer(as_json=self._as_json)
        # Fields first: what is escaped inside a field would be escaped twice in the line. Then all that is left.
        line = self._render(level, event, {self.redactor.clean(key): self._plain(fields[key]) for key in fields})
        stream = self._stream or sys.stderr
        # None, or ValueError: closed. Nothing can be told where telling is what fails, and the work goes on.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.write(self.redactor.clean(line) + "\n")
            stream.flush()

    def _plain(self, value: object) -> str | int | float | bool | None:
        if isinstance(value, (int, float, bool)) or value is None:
            return value
        return self.redactor.clean(value if isinstance(value, str) else str(value))

    def debug(self, event: str, **fields: object) -> None:
        self.write(Level.DEBUG, event, **fields)

    def info(self, event: str, **fields: object) -> None:
        self.write(Level.INFO, event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        self.write(Level.WARNING, event, **fields)

    def error(self, event: str, **fields: object) -> None:
        self.write(Level.ERROR, event, **fields)


def _renderer(*, as_json: bool) -> Any:
    import structlog  # late: start-up

    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    final: Any
    if as_json:
        final = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    else:
        final = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)

    def render(level: Level, event: str, fields: dict[str, object]) -> str:
        entry: dict[str, Any] = {"event": event, "level": level.name.lower()}
        for key, value in fields.items():
            entry[_field_name(key)] = value
        return str(final(None, "", stamp(None, "", entry)))

    return render


def _field_name(key: str) -> str:
    # logfmt keys have no blanks, quotes or '='; a plugin's own field names are not ours to trust.
    return "".join(char if char.isalnum() or char in "_.-@" else "_" for char in key) or "_"
