"""
Log lines for the host: JSON as HashiCorp's hclog writes it, one object a line, on standard error.

    {"@level":"info","@message":"connected","@module":"files","@timestamp":"2026-01-31T12:00:00.000000Z","count":3}

A go-plugin host parses these lines, gives each its level and keeps the fields. Nothing else is known about a host's
level, so every line is sent and the host drops what it does not want. Never log a value.
"""

from __future__ import annotations

import os
import time

_LONGEST = 4096  # characters of one field: hosts cut lines at 64 KiB, and then no longer see JSON


class Logger:
    """
    Writes lines of one module.

    Args:
        module: the name that the host shows with each line.
        fd: where lines go; standard error, which is never redirected.
    """

    def __init__(self, module: str, *, fd: int = 2) -> None:
        self._module = module
        self._fd = fd

    def trace(self, message: str, **fields: object) -> None:
        self.write("trace", message, fields)

    def debug(self, message: str, **fields: object) -> None:
        self.write("debug", message, fields)

    def info(self, message: str, **fields: object) -> None:
        self.write("info", message, fields)

    def warn(self, message: str, **fields: object) -> None:
        self.write("warn", message, fields)

    def error(self, message: str, **fields: object) -> None:
        self.write("error", message, fields)

    def write(self, level: str, message: str, fields: dict[str, object]) -> None:
        """Writes one line. *message* is constant text, *fields* are the facts; they are written in their text form."""
        import json  # late: start-up

        line = {
            "@level": level,
            "@message": message,
            "@module": self._module,
            "@timestamp": _timestamp(),
            **{name: _plain(value) for name, value in fields.items()},
        }
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            os.write(self._fd, data)  # one call: lines of several threads do not mix
        except OSError:
            return  # the host has closed its end; there is nobody left to tell


def exception_fields(error: BaseException) -> dict[str, object]:
    """What may be logged of an exception: its type and where it was raised. Its text and variables may be secret."""
    kind = type(error)
    frames = []
    frame = error.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        frames.append(f"{code.co_filename}:{frame.tb_lineno} in {code.co_name}")
        frame = frame.tb_next
    fields: dict[str, object] = {"type": f"{kind.__module__}.{kind.__qualname__}", "frames": " < ".join(frames[::-1])}
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        fields["cause"] = type(cause).__qualname__
    return fields


def _timestamp() -> str:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds // 1000:06d}Z"


def _plain(value: object) -> object:
    if isinstance(value, bool | int | float) or value is None:
        return value
    text = str(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
