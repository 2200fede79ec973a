"""How the parts of a notification are written, and its form in one line for `--notify` and INJECTOR_NOTIFY."""

from __future__ import annotations

import re
import shlex
import signal as signals
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from injector.settings.actions import ExecAction, HttpAction, RolloutAction, SignalAction
from injector.settings.kinds import DURATION, PATH, PATTERN, Kind, matching

if TYPE_CHECKING:
    from injector.settings.actions import Action

_HIGHEST_SIGNAL: Final = 64
_HIGHEST_PID: Final = 2**22
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PROCESS = re.compile(r"[^/\0]{1,255}")
_VISIBLE = re.compile(r"[!-~]{1,4096}")  # no blanks, no control characters: nothing that could end a request's line
_METHOD = re.compile(r"[A-Z]{1,20}")
_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_RESOURCE = re.compile(rf"(deployment|statefulset|daemonset)/(?=.{{1,253}}\Z)({_LABEL}(?:\.{_LABEL})*)")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE = re.compile(r"[\t -~\u00a0-\u00ff]{0,8192}")
# They say how long a body is, and there is none.
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})


def _signal(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,2}", text):
        number = int(text)
    else:
        try:
            number = signals.Signals["SIG" + text.upper().removeprefix("SIG")].value
        except KeyError:
            raise ValueError from None
    # No program can take these as a word to read its files.
    if not 1 <= number <= _HIGHEST_SIGNAL or number in {signals.SIGKILL, signals.SIGSTOP}:
        raise ValueError
    return number


def _pid(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,7}", text) or not 1 <= int(text) <= _HIGHEST_PID:
        raise ValueError
    return int(text)


def _status(text: str) -> int:
    if not re.fullmatch(r"[1-5][0-9]{2}", text):
        raise ValueError
    return int(text)


def _url(text: str) -> str:
    if not _VISIBLE.fullmatch(text) or "#" in text:
        raise ValueError
    if text.startswith("unix:"):
        path, _, target = text.removeprefix("unix:").partition(":")
        if not path.startswith("/") or not (target.startswith("/") or not target):
            raise ValueError
        return text
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:  # a bad port raises, too
        raise ValueError
    return text


def _argument(text: str) -> str:
    if "\0" in text:
        raise ValueError
    text.encode()  # a lone surrogate cannot be passed
    return text


def _resource(text: str) -> tuple[str, str]:
    match = _RESOURCE.fullmatch(text)
    if not match:
        raise ValueError
    return match[1], match[2]


def header_name(text: str) -> str:
    """The name of an HTTP header that may be set; ValueError for any other text."""
    if not _HEADER.fullmatch(text) or text.lower() in _FRAMING:
        raise ValueError
    return text


_NUMBERS: Final = frozenset({"str", "int"})
NAME = Kind("a name of letters, digits, '.', '_' and '-', at most 63", matching(_NAME))
SIGNAL = Kind("a signal such as HUP, SIGUSR1 or 1, but KILL and STOP", _signal, tags=_NUMBERS)
PROCESS = Kind("the name of a process, without a path", matching(_PROCESS))
PID = Kind("the number of a process", _pid, tags=frozenset({"int"}))
ARGUMENT = Kind("a text", _argument, tags=frozenset({"str", "int", "float"}), separator=" ")
URL = Kind("an address such as http://127.0.0.1:9000/reload or unix:/run/app.sock:/reload", _url)
METHOD = Kind("an HTTP method such as POST", matching(_METHOD))
STATUS = Kind("an HTTP status from 100 to 599", _status, tags=frozenset({"int"}), separator=",")
HEADER_VALUE = Kind("the value of a header, on one line", matching(_HEADER_VALUE), tags=_NUMBERS)
RESOURCE = Kind("deployment/NAME, statefulset/NAME or daemonset/NAME", _resource)
NAMESPACE = Kind("the name of a namespace", matching(re.compile(_LABEL)))

FIELDS: Final = {
    "signal": {"signal": SIGNAL, "process": PROCESS, "pidFile": PATH, "pid": PID},
    "exec": {"exec": ARGUMENT, "timeout": DURATION},
    "http": {"http": URL, "method": METHOD, "expect": STATUS, "timeout": DURATION, "caFile": PATH},
    "rollout": {"rollout": RESOURCE, "namespace": NAMESPACE, "minInterval": DURATION, "timeout": DURATION},
}
"""The keys of an entry of `notify` by its kind; `headers` of `http` is a mapping and not among them."""

COMMON: Final = {"name": NAME, "match": PATTERN}
"""The keys of every entry."""


def action(text: str) -> Action:
    """
    The action that one line says: `signal:HUP:process=nginx`, `signal:HUP:/run/nginx.pid`, `signal:HUP:pid=1`,
    `exec:/bin/reload --now` (quotes as in a shell, and nothing else of one), `http:POST http://…`, `http:http://…`,
    `rollout:deployment/shop`. ValueError for anything else.
    """
    kind, _, rest = text.strip().partition(":")
    match kind:
        case "signal":
            return _signal_action(rest)
        case "exec":
            command = tuple(ARGUMENT.parse(part) for part in shlex.split(rest))
            if not command or not command[0]:
                raise ValueError
            return ExecAction(command=command)
        case "http":
            method, blank, url = rest.partition(" ")
            return (
                HttpAction(url=_url(url.strip()), method=METHOD.parse(method)) if blank else HttpAction(url=_url(rest))
            )
        case "rollout":
            workload, resource = _resource(rest)
            return RolloutAction(workload=workload, resource=resource)
        case _:
            raise ValueError


def _signal_action(rest: str) -> SignalAction:
    signal, _, target = rest.partition(":")
    number = _signal(signal)
    how, equals, value = target.partition("=")
    if equals and how == "process":
        return SignalAction(signal=number, process=PROCESS.parse(value))
    if equals and how == "pid":
        return SignalAction(signal=number, pid=_pid(value))
    if not target.startswith("/") and not (equals and how == "pidFile"):
        raise ValueError
    return SignalAction(signal=number, pid_file=PATH.parse(value if how == "pidFile" else target))
