"""
Asks a running sidecar: one request over TCP or a unix socket.

Plain sockets, since `injector health` runs every few seconds in every pod: `http.client` takes longer to import.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from injector.app.serving.listeners import split_address
from injector.errors import AccessDenied, BackendUnavailable, NoAnswer, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST: Final = 64 * 1024 * 1024  # bytes of an answer
_ANY: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where to ask, not to listen


class Answer(Struct, frozen=True):
    status: int
    body: bytes


def ask(target: str | Path, path: str, *, method: str = "GET", token: str | None = None, timeout: float) -> Answer:
    """
    The answer of the sidecar at *target* (`host:port` as in `listen`, or the path of its socket) in *timeout* seconds.

    Raises NoAnswer: nobody listens, or the answer is late or no answer; AccessDenied: the socket is not ours to open.
    """
    deadline = time.monotonic() + timeout
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n"
    if token:
        head += f"Authorization: Bearer {token}\r\n"
    try:
        with _connect(target, timeout) as connection:
            connection.sendall(head.encode("latin-1") + b"\r\n")
            return _parse(_read_all(connection, deadline), target)
    except TimeoutError:
        raise NoAnswer(f"no answer from {target} in {timeout:g} s", hint="does its event loop turn?") from None
    except PermissionError:
        raise AccessDenied(f"{target} may not be opened", hint="run it as the user of the sidecar") from None
    except (OSError, UnicodeError):
        raise NoAnswer(f"nobody answers on {target}", hint="is the sidecar running, with this address?") from None


def _connect(target: str | Path, timeout: float) -> socket.socket:
    if isinstance(target, str):
        host, port = split_address(target)
        return socket.create_connection((_ANY.get(host, host), port), timeout)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(str(target))
    except BaseException:
        connection.close()
        raise
    return connection


def _read_all(connection: socket.socket, deadline: float) -> bytes:
    data = bytearray()
    while len(data) <= _LARGEST:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        more = connection.recv(65536)
        if not more:
            return bytes(data)
        data += more
    raise OSError("the answer is too large")


def _parse(data: bytes, target: str | Path) -> Answer:
    head, found, body = data.partition(b"\r\n\r\n")
    parts = head.partition(b"\r\n")[0].split(b" ", 2)
    if not found or not parts[0].startswith(b"HTTP/1.") or len(parts) < 2 or not parts[1].isdigit():
        raise NoAnswer(f"what answers on {target} is no injector", hint="correct the address")
    return Answer(int(parts[1]), body)


def read_token(control: Path) -> str:
    """The token of the control socket *control*. Raises AccessDenied or NoAnswer when it cannot be read."""
    path = control.with_name(control.name + ".token")
    try:
        with path.open("rb") as file:
            return file.read(1024).decode("ascii").strip()
    except PermissionError:
        raise AccessDenied(f"{path} may not be read", hint="run it as the user of the sidecar") from None
    except OSError:
        raise NoAnswer(
            f"nobody answers on {control}: there is no {path}", hint="is the sidecar running, with --control?"
        ) from None
    except UnicodeError:
        raise SettingsError(f"{path} holds no token") from None


def ask_control(control: Path, path: str, *, method: str, timeout: float) -> dict[str, Any]:
    """
    The JSON that the sidecar of the socket *control* answers in *timeout* seconds. Its token is read each time: a
    sidecar that was restarted has another.

    Raises NoAnswer, AccessDenied, and BackendUnavailable for a refresh that failed as a whole.
    """
    import json  # late: probes need none

    token = read_token(control)
    answer = ask(control, path, method=method, token=token, timeout=timeout)
    if answer.status in (401, 403, 421):
        raise AccessDenied(f"{control} refuses the token", hint="was the sidecar restarted? try again")
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or answer.status not in (200, 202, 502):
        text = answer.body.decode("utf-8", "replace").strip()[:200]
        raise NoAnswer(f"{control} answers {answer.status}: {text}")
    if answer.status == 502:
        raise BackendUnavailable(f"the refresh failed: {document.get('error')}", hint="injector status tells more")
    return document
