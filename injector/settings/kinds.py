"""
How values are written: durations, sizes, modes, choices. One text form for file, variable and flag.

A `Kind` parses the text or raises ValueError; what it expects is told by `expects`, and the text itself is never
repeated: a password in the wrong place must not show up in an error message.
"""

from __future__ import annotations

import os
import re
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from injector.model.policy import AutoMtls, Check, Escaping, FileFormat, OnError, OnMissing, Verify, WriteMode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Kind(Struct, frozen=True):
    """
    A kind of value.

    `parse` makes a value of a text and raises ValueError. `tags` are the YAML types (1.1) that its scalar may have;
    the scalar's text as it was written is what is parsed, so that `0600` stays octal. `separator` is set for lists:
    it stands between the items of a variable; `parse` is for one item then. `parse_list` is set for what is either a
    text or, in the file only, a list of texts. `pattern` (ECMA 262, whole text) and `choices` say what `parse` says to
    an editor, as far as they can.
    """

    expects: str
    parse: Callable[[str], Any]
    tags: frozenset[str] = frozenset({"str"})
    separator: str | None = None
    parse_list: Callable[[Sequence[str]], Any] | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()


def matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    """A `parse` for the texts that *pattern* matches as a whole: gives them back."""

    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError
        return text

    return parse


_DURATION = r"(?:[0-9]+(?:\.[0-9]*)?(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+"
_DURATION_PART = r"([0-9]+(?:\.[0-9]*)?)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
_SECONDS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "\u00b5s": Decimal("1e-6"),  # micro sign and Greek mu, as Go takes them
    "\u03bcs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_LONGEST = Decimal(365 * 24 * 3600)

_SIZE = r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(|[kMGTPE]|[KMGTPE]i)"
_POWERS = {letter: power for power, letter in enumerate("KMGTPE", start=1)}
_LARGEST = 2**31 - 1  # gRPC counts message sizes in 32 bits

_MODE = r"(?:0o)?([0-7]{1,12})"
_ADDRESS = r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{0,253}):([0-9]{1,5})"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
_CONNECTIONS = r"[a-z0-9][a-z0-9._-]*( *, *[a-z0-9][a-z0-9._-]*)*"
_MOST_CALLS = 10_000
_HIGHEST_PORT = 65_535
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_LEVELS = ("trace", "debug", "info", "warning", "error", "off")


def duration(text: str) -> float:
    """Seconds of a duration as Go writes it: `500ms`, `30s`, `1h30m`. ValueError for anything else and for zero."""
    if len(text) > 100 or not re.fullmatch(_DURATION, text):
        raise ValueError
    seconds = sum(Decimal(number) * _SECONDS[unit] for number, unit in re.findall(_DURATION_PART, text))
    if not 0 < seconds <= _LONGEST:
        raise ValueError
    return float(seconds)


def _duration_or_off(text: str) -> float | None:
    return None if text.lower() in _FALSE - {"0"} else duration(text)


def _address(text: str) -> str:
    """`host:port`, `[::1]:port` or `:port`; port 0 takes a free one."""
    match = re.fullmatch(_ADDRESS, text)
    if not match or int(match[2]) > _HIGHEST_PORT:
        raise ValueError
    return text


def size(text: str) -> int:
    """Bytes of a Kubernetes quantity: `16Mi`, `64M`, `1.5Gi`, `4096`; parts of a byte are rounded up."""
    match = re.fullmatch(_SIZE, text)
    if not match:
        raise ValueError
    number, unit = Decimal(match[1]), match[2]
    scale = (1024 if unit.endswith("i") else 1000) ** _POWERS.get(unit[:1].upper(), 0)
    octets = int((number * scale).to_integral_value(ROUND_CEILING))
    if not 0 < octets <= _LARGEST:
        raise ValueError
    return octets


def mode(text: str) -> int:
    """Permission bits of an octal number: `0600`, `640`, `0o400`. ValueError above 0777."""
    match = re.fullmatch(_MODE, text)
    if not match or int(match[1], 8) > 0o777:
        raise ValueError
    return int(match[1], 8)


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered not in _TRUE | _FALSE:
        raise ValueError
    return lowered in _TRUE


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= _MOST_CALLS:
        raise ValueError
    return int(text)


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= _HIGHEST_PORT:
        raise ValueError
    return int(text)


def _text(text: str) -> str:
    text.encode()  # UnicodeEncodeError is a ValueError: a lone surrogate has no bytes to be written
    return text


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _one_character(text: str) -> str:
    if len(text) != 1:
        raise ValueError
    return text


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError
    return Path(text)


def _variable(text: str) -> str:
    if not re.fullmatch(_VARIABLE, text):
        raise ValueError
    return text


def _connections(text: str) -> tuple[str, ...]:
    if not re.fullmatch(_CONNECTIONS, text):
        raise ValueError
    return tuple(name.strip() for name in text.split(","))


def _pattern(text: str) -> str:
    if not text.strip("/.") or "**" in text:
        raise ValueError
    return text


def _action(text: str) -> Any:
    from injector.settings.action_kinds import action  # late: start-up; a render has none

    return action(text)


def _check(text: str) -> Check:
    if text.lower() not in {"auto", *(_FALSE - {"0"})}:
        raise ValueError
    return Check(read_back=text.lower() == "auto")


def _check_command(arguments: Sequence[str]) -> Check:
    if not arguments or not arguments[0] or not any("{file}" in argument for argument in arguments):
        raise ValueError
    if any("\0" in argument for argument in arguments):
        raise ValueError
    return Check(command=tuple(arguments))


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return parse


# No quotes needed in YAML for what cannot be mistaken: `30`, `0600` and `16` are integers there.
_NUMBERS = frozenset({"str", "int", "float"})

TEXT = Kind("a text", _text)
SEPARATOR = Kind("punctuation such as '://' or '#'", _not_empty)
CHARACTER = Kind("a single character", _one_character)
BOOLEAN = Kind("true or false", _boolean, tags=frozenset({"bool"}))
ON_MISSING = Kind("one of fail, empty, keep, default", OnMissing, choices=tuple(OnMissing))
# `off` is false in YAML 1.1; its text is still what was written.
VERIFY = Kind("one of off, locked, required", Verify, tags=frozenset({"str", "bool"}), choices=tuple(Verify))
DURATION = Kind(
    "a duration with its unit, such as 500ms, 30s or 1h30m, above zero",
    duration,
    tags=_NUMBERS,
    pattern=_DURATION,
)
SIZE = Kind(
    "a size such as 16Mi, 64M or a number of bytes, from 1 to 2147483647 bytes",
    size,
    tags=_NUMBERS,
    pattern=_SIZE,
)
MODE = Kind("octal permission bits such as 0600, at most 0777", mode, tags=_NUMBERS, pattern=_MODE)
COUNT = Kind(f"a whole number from 1 to {_MOST_CALLS}", _count, tags=frozenset({"int"}))
PORT = Kind(f"a port number from 1 to {_HIGHEST_PORT}", _port, tags=frozenset({"int"}))
AUTO_MTLS = Kind("one of require, prefer, off", AutoMtls, tags=frozenset({"str", "bool"}), choices=tuple(AutoMtls))
ACCOUNT = Kind("the name or number of a user or group", _not_empty, tags=frozenset({"str", "int"}))
DURATION_OR_OFF = Kind(
    "a duration such as 30s or 1h30m, or off",
    _duration_or_off,
    tags=_NUMBERS | {"bool"},
    pattern=f"off|{_DURATION}",
)
FILE_FORMAT = Kind(f"one of {', '.join(FileFormat)}", FileFormat, choices=tuple(FileFormat))
ESCAPE = Kind("one of auto, raw", Escaping, choices=tuple(Escaping))
CHECK = Kind(
    "auto, off, or in a settings file a command as a list of arguments, one of them with {file}",
    _check,
    tags=frozenset({"str", "bool"}),
    parse_list=_check_command,
)
ON_ERROR = Kind("one of keep, fail", OnError, choices=tuple(OnError))
WRITE = Kind("one of rename, in-place, set", WriteMode, choices=tuple(WriteMode))
ADDRESS = Kind("an address such as 127.0.0.1:8080, [::1]:8080 or :8080", _address, pattern=_ADDRESS)
PATH = Kind("a path", _path)
PATHS = Kind("a path", _path, separator=os.pathsep)
INPUTS = Kind("a template, a directory of templates, or -", _path, separator=os.pathsep)
VARIABLES = Kind("the name of an environment variable", _variable, separator=",", pattern=_VARIABLE)
CONNECTIONS = Kind("the name of a connection, or several with commas between them", _connections, pattern=_CONNECTIONS)
PATTERN = Kind("a pattern such as *.conf or legacy/* (without **)", _pattern)
NOTIFY = Kind(
    "signal:NAME:process=NAME, signal:NAME:PID-FILE, exec:COMMAND, http:[METHOD ]URL or rollout:KIND/NAME",
    _action,
    separator="\n",
)
LOG_LEVEL = Kind(f"one of {', '.join(_LEVELS)}", _one_of(*_LEVELS), choices=_LEVELS)
LOG_FORMAT = Kind("one of text, json", _one_of("text", "json"), choices=("text", "json"))
