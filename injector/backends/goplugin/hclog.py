"""
What a plugin writes to standard error, read as go-plugin's host reads it, and put into our log.

A JSON object with `@level`, `@message` and `@timestamp` (hclog) is logged at that level with the rest as fields;
text at the level of its prefix `[WARN]` and the like, else at debug; `panic: ` or `fatal error: ` begins error level
until the end. A line over 64 KiB comes in pieces at debug. Source: HashiCorp go-plugin v1.8.0, client.go (logStderr)
and log_entry.go.
"""

from __future__ import annotations

import json
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from injector.backends.goplugin.quoting import quote
from injector.telemetry.logs import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from injector.telemetry.logs import Log

_LONGEST_LINE = 64 * 1024
_LONGEST_FIELD = 4096
_MOST_FIELDS = 32
_LINES_A_SECOND = 1000
_KEPT_LINES = 20
_KEPT_OF_A_LINE = 2000
_QUOTED_LINES = 3
_QUOTED_CHARACTERS = 400
_LEVELS = {
    "trace": Level.TRACE,
    "debug": Level.DEBUG,
    "info": Level.INFO,
    "warn": Level.WARNING,
    "error": Level.ERROR,
}
_TEXT_LEVELS = {f"[{name.upper()}]": level for name, level in _LEVELS.items()}
_CRASHES = ("panic: ", "fatal error: ")


class Entry(NamedTuple):
    """One line of a plugin's log."""

    level: Level
    message: str
    fields: dict[str, str]


def parse(line: str, plain: Level = Level.DEBUG) -> Entry:
    """The entry of one line without its line feed; *plain* text has no level. Never raises, whatever the line is."""
    if line.lstrip().startswith("{"):
        entry = _parse_json(line)
        if entry is not None:
            return entry
    if line.startswith(_CRASHES):
        return Entry(Level.ERROR, line, {})
    prefix, _, rest = line.partition(" ")
    if prefix in _TEXT_LEVELS:
        return Entry(_TEXT_LEVELS[prefix], rest.strip(), {})
    return Entry(plain, line, {})


def _parse_json(line: str) -> Entry | None:
    try:
        content: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("@message"), str):
        return None
    level = content.pop("@level", None)
    message = content.pop("@message")
    content.pop("@timestamp", None)
    known = _LEVELS.get(level.lower(), Level.DEBUG) if isinstance(level, str) else Level.DEBUG
    fields = {str(name)[:_LONGEST_FIELD]: _text(value) for name, value in list(content.items())[:_MOST_FIELDS]}
    return Entry(known, message, fields)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:_LONGEST_FIELD]


class LineSplitter:
    """Bytes in pieces to lines of text; sans I/O. A line over 64 KiB is given out in pieces, so nothing grows."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that *data* completes, without line feeds, what is not UTF-8 replaced."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield from self._pieces(line)
        while len(self._rest) > _LONGEST_LINE:
            piece, self._rest = self._rest[:_LONGEST_LINE], self._rest[_LONGEST_LINE:]
            yield piece.decode("utf-8", "replace")

    def finish(self) -> Iterator[str]:
        """The last line, if it had no line feed."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from self._pieces(rest)

    @staticmethod
    def _pieces(line: bytes) -> Iterator[str]:
        for start in range(0, max(len(line), 1), _LONGEST_LINE):
            yield line[start : start + _LONGEST_LINE].removesuffix(b"\r").decode("utf-8", "replace")


class PluginLog:
    """
    One stream of a plugin's output on its way into our log.

    Args:
        log: where entries go; its redactor also cleans what `last_words` quotes.
        plugin: the plugin's name, a field of every entry.
        stream: what is read, a field of every entry: stderr, stdout.
        plain: the level of text that names none.
        clock: seconds, monotonic.

    No more than 1,000 lines a second are looked at: a plugin that writes without end costs us little and fills no disk.
    """

    def __init__(
        self,
        log: Log,
        *,
        plugin: str,
        stream: str,
        plain: Level = Level.DEBUG,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._plugin = plugin
        self._stream = stream
        self._plain = plain
        self._clock = clock
        self._splitter = LineSplitter()
        self._kept: deque[str] = deque(maxlen=_KEPT_LINES)
        self._crash = ""
        self._second = clock()
        self._in_second = 0
        self._suppressed = 0

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the stream."""
        for line in self._splitter.feed(data):
            self._take(line)

    def finish(self) -> None:
        """The stream is at its end, for now: a begun line is taken as one."""
        for line in self._splitter.finish():
            self._take(line)
        self._end_second()

    def last_words(self) -> str:
        """The last lines, quoted and cleaned, to be part of a message; empty when there are none that say anything."""
        lines = list(self._kept)
        if self._crash:
            lines = [self._crash]
        # Cleaned line by line: each was cut, and where a text ends even a short beginning of a value is known for one.
        entries = [parse(self._log.redactor.clean(line)) for line in lines if line.strip()]
        telling = [entry.message for entry in entries if not (entry.fields and entry.level <= Level.DEBUG)]
        words = " / ".join(message.strip() for message in telling[-_QUOTED_LINES:])
        return quote(self._log.redactor.clean(words), _QUOTED_CHARACTERS) if words else ""

    def _take(self, line: str) -> None:
        self._kept.append(line[:_KEPT_OF_A_LINE])
        if not self._crash and line.startswith(_CRASHES):
            self._crash = line[:_KEPT_OF_A_LINE]
        if not self._log.is_enabled(Level.ERROR) or not line:
            return
        if not self._has_room():
            self._suppressed += 1
            return
        entry = parse(line, self._plain)
        level = Level.ERROR if self._crash else entry.level
        if self._log.is_enabled(level):
            self._write(level, entry.message[:_LONGEST_LINE], entry.fields)

    def _write(self, level: Level, message: str, fields: dict[str, str]) -> None:
        # Under names of their own: a plugin's field `level` or `event` must not take the place of ours.
        named = {f"plugin.{name}": value for name, value in fields.items()}
        self._log.write(level, "plugin output", plugin=self._plugin, stream=self._stream, message=message, **named)

    def _has_room(self) -> bool:
        if self._clock() - self._second >= 1:
            self._end_second()
        self._in_second += 1
        return self._in_second <= _LINES_A_SECOND

    def _end_second(self) -> None:
        if self._suppressed:
            self._log.warning(
                "plugin output suppressed", plugin=self._plugin, stream=self._stream, lines=self._suppressed
            )
        self._second = self._clock()
        self._in_second = self._suppressed = 0
