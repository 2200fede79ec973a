"""Who listens on the plugin's socket, as the kernel says: SO_PEERCRED of unix(7)."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

from injector.errors import PluginError

if TYPE_CHECKING:
    from injector.telemetry.logs import Log

_CREDENTIALS = struct.Struct("3i")  # struct ucred: process, user, group


def check_peer(sock: socket.socket, *, expected_pid: int, name: str, log: Log) -> None:
    """
    Looks at who made the socket that *sock* is connected to. Does nothing for TCP, nor where there is no SO_PEERCRED.

    Another process of the same user is worth a warning only: a plugin may be a wrapper that starts the real one.

    Raises:
        PluginError: it is another user's, and not root's.
    """
    credentials = peer_credentials(sock)
    if credentials is None:
        return
    pid, user = credentials
    if user not in {os.geteuid(), 0}:
        raise PluginError(
            f"{name} is not who listens on its socket: that is a process of the user {user}",
            hint="find out who can write to the plugin's socket directory",
        )
    if pid != expected_pid:
        log.warning("another process listens on the plugin's socket", plugin=name, started=expected_pid, listens=pid)


def peer_credentials(sock: socket.socket) -> tuple[int, int] | None:
    """Process and user at the other end of a unix socket; None where the system does not say."""
    if sock.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return None
    pid, user, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, user
