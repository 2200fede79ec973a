"""Sockets to serve on: TCP addresses and unix sockets, with errors that say what is in the way."""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import TYPE_CHECKING

from injector.errors import ListenFailed

if TYPE_CHECKING:
    from pathlib import Path

_NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`, `[::1]:port` or `:port`, as in the setting `listen`; an empty host means all."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def listen_tcp(address: str) -> list[socket.socket]:
    """
    A bound socket for each of the addresses that *address* stands for; with port 0 all get the same free one.

    Raises ListenFailed.
    """
    host, port = split_address(address)
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ListenFailed(f"cannot listen on {address}: no such host", hint="correct --listen") from None
    bound: list[socket.socket] = []
    failure: OSError | None = None
    for family, _, _, _, where in sorted(set(found), key=lambda entry: (entry[0] != socket.AF_INET, str(entry))):
        try:
            bound.append(_bind(family, (where[0], port, *where[2:])))
        except OSError as error:
            failure = error
            if error.errno not in _NO_SUCH_FAMILY:
                break
        else:
            port = bound[0].getsockname()[1]
    if not bound or (failure and failure.errno not in _NO_SUCH_FAMILY):
        for listener in bound:
            listener.close()
        raise ListenFailed(f"cannot listen on {address}: {_reason(failure)}", hint=_hint(failure)) from None
    return bound


def _bind(family: int, where: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
    except BaseException:
        listener.close()
        raise
    return listener


def listen_unix(path: Path) -> socket.socket:
    """
    A bound socket at *path* that only this user (and root) may connect to. One whose program is gone is replaced.

    Raises ListenFailed, also when another program answers there or something else has the name.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(str(path))
        path.chmod(0o600)  # nobody can connect before `listen`, which comes later
    except ListenFailed:
        listener.close()
        raise
    except OSError as error:
        listener.close()
        # Python's own text for a path that is too long has no errno.
        reason = _reason(error) if error.errno else "its path is longer than a unix socket's may be"
        raise ListenFailed(f"cannot make the control socket {path}: {reason}", hint="correct --control") from None
    return listener


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ListenFailed(f"cannot make the control socket {path}: something else has this name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except OSError:  # busy, or not ours to connect to: alive as far as we can tell
            pass
    raise ListenFailed(
        f"cannot make the control socket {path}: another program listens there",
        hint="end the other injector, or give this one another --control",
    )


def _reason(error: OSError | None) -> str:
    if error is None or error.errno is None:
        return "no such address"
    if error.errno == errno.EADDRINUSE:
        return "the address is in use"
    return os.strerror(error.errno).lower()


def _hint(error: OSError | None) -> str:
    if error is not None and error.errno == errno.EADDRINUSE:
        return "end what listens there, or give another port with --listen"
    if error is not None and error.errno == errno.EACCES:
        return "take a port from 1024 on"
    return "correct --listen"
