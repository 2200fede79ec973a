"""
Where the plugin listens: a private Unix socket, or a loopback port where sockets cannot be had.

The socket's file mode is what keeps other users out: 0600 in a directory of ours with mode 0700, or 0660 for a group
that the host names.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from injector.sdk.handshake import StartRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc

    from injector.sdk.gateway import Gateway
    from injector.sdk.handshake import HostWishes

_TEMPORARY = "/tmp"  # noqa: S108 - what goes there is a directory of ours
_LONGEST_PATH = 107  # bytes: sockaddr_un holds 108 with the closing NUL


@dataclass(frozen=True, slots=True)
class Listener:
    """
    A bound address as the handshake line names it.

    `directory` is ours to remove, when there is one. `problem` says why it is not the socket that was wished for.
    """

    network: str
    address: str
    directory: str = ""
    problem: str = ""

    def remove(self) -> None:
        """Removes the socket and its directory. May be called more than once."""
        with suppress(OSError):  # gRPC removes the file as well, when it still can
            if self.network == "unix":
                os.unlink(self.address)  # noqa: PTH108 - start-up
        with suppress(OSError):
            if self.directory:
                os.rmdir(self.directory)  # noqa: PTH106 - start-up


def listen(server: grpc.Server, wishes: HostWishes, gateway: Gateway | None = None) -> Listener:
    """
    Binds *server*, not started yet, to an address that fits *wishes*; with a *gateway* that one is bound instead.

    StartRefused when there is no such address.
    """
    try:
        return _listen_on_socket(server, wishes, gateway)
    except (OSError, RuntimeError) as error:  # RuntimeError: gRPC could not bind
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no socket could be bound"
        return _listen_on_loopback(server, wishes, f"Unix socket not available: {reason}", gateway)


def _listen_on_socket(server: grpc.Server, wishes: HostWishes, gateway: Gateway | None) -> Listener:
    group = _group_id(wishes.socket_group) if wishes.socket_group else None
    directory = "" if wishes.socket_directory else private_directory()
    path = f"{wishes.socket_directory or directory}/{_socket_name()}"
    listener = Listener("unix", path, directory)
    try:
        _bind(server, path, gateway)
        if group is not None:
            _give_to_group(listener, group)
    except BaseException:
        listener.remove()
        raise
    return listener


def _give_to_group(listener: Listener, group: int) -> None:
    # Refused, not replaced by a port: a port would be open to everybody.
    try:
        os.chown(listener.address, -1, group)
        os.chmod(listener.address, 0o660)  # noqa: PTH101 - start-up
        if listener.directory:
            os.chown(listener.directory, -1, group)
            os.chmod(listener.directory, 0o710)  # noqa: PTH101, S103 - the group must get through to the socket
    except OSError as error:
        raise StartRefused(f"PLUGIN_UNIX_SOCKET_GROUP: the socket cannot be given to it: {error.strerror}") from None


def _bind(server: grpc.Server, path: str, gateway: Gateway | None) -> None:
    if gateway is None:
        bind_privately(server, path)
        return
    import socket  # late: start-up

    with _private_files():
        gateway.bind(socket.AF_UNIX, path)


def bind_privately(server: grpc.Server, path: str) -> None:
    """Binds *server* to a new socket at *path* with mode 0600. OSError, or RuntimeError from gRPC."""
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise OSError(0, f"its path would be longer than {_LONGEST_PATH} bytes")
    with _private_files():
        server.add_insecure_port(f"unix:{_quoted(path)}")
    if not stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116 - start-up
        raise OSError(0, "no socket appeared")


@contextmanager
def _private_files() -> Iterator[None]:
    before = os.umask(0o177)  # the socket is private from its first moment on
    try:
        yield
    finally:
        os.umask(before)


def _quoted(path: str) -> str:
    # gRPC's addresses are URIs.
    if path.isascii() and path.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum():
        return path
    from urllib.parse import quote  # late: start-up

    return quote(path)


def private_directory() -> str:
    """A new directory with mode 0700, short enough for a socket in it. OSError."""
    # Not tempfile: it costs a tenth of the start. mkdir fails when the name is taken, by a link as well.
    name = f"injector-plugin-{os.urandom(6).hex()}"
    directory = f"{os.environ.get('TMPDIR') or _TEMPORARY}/{name}"
    if len(os.fsencode(directory)) + 1 + len(_socket_name()) > _LONGEST_PATH:
        directory = f"{_TEMPORARY}/{name}"
    os.mkdir(directory, 0o700)  # noqa: PTH102 - start-up
    return directory


def _socket_name() -> str:
    return f"plugin-{os.urandom(6).hex()}"


def _group_id(group: str) -> int:
    if group.isascii() and group.isdigit():
        return int(group)
    import grp  # late: not on Windows

    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise StartRefused(f"PLUGIN_UNIX_SOCKET_GROUP names no group of this machine: {group!r}") from None


def _listen_on_loopback(server: grpc.Server, wishes: HostWishes, problem: str, gateway: Gateway | None) -> Listener:
    import socket  # late: start-up

    lowest, highest = wishes.ports
    for port in range(lowest, highest + 1):
        with socket.socket() as probe:  # gRPC writes to standard error when it cannot bind: ask quietly first
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        with suppress(RuntimeError, OSError):
            if gateway is not None:
                bound = gateway.bind(socket.AF_INET, ("127.0.0.1", port))[1]
            else:
                bound = server.add_insecure_port(f"127.0.0.1:{port}")
            return Listener("tcp", f"127.0.0.1:{bound}", problem=problem)
    raise StartRefused(
        f"no address to listen at: {problem or 'no Unix sockets here'}; no port free in {lowest}-{highest}"
    )
