"""
From a target to the addresses that may be connected to, within a deadline.

The name is looked up once, and the connection is made to an address that was checked: a name that resolves to another
one a moment later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from typing import TYPE_CHECKING

from injector.errors import BackendUnavailable, CallTimeout, PluginHttpRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.backends.wasm.http_policy import HttpPolicy, IPAddress, Target

_LOOK_EVERY = 0.25  # seconds: a call that is cancelled has no time left at once


def admitted(target: Target, policy: HttpPolicy, left: Callable[[], float]) -> list[IPAddress]:
    """
    The addresses of *target* that *policy* lets us connect to, the resolver's first choice first.

    Args:
        left: the seconds that the call has left.

    Raises:
        PluginHttpRefused: it has addresses, and none of them is allowed.
        BackendUnavailable: the name does not resolve.
        CallTimeout: it did not in time.
    """
    addresses = [target.address] if target.address else look_up(target.host, left)
    allowed = [address for address in addresses if policy.admits(address, target)]
    if not allowed:
        raise PluginHttpRefused(
            f"{target.origin} is at an address of a private network, this machine or a cloud's metadata",
            hint="if it is meant to be reached, add its network to injector.http.networks of the connection",
        )
    return allowed


def look_up(name: str, left: Callable[[], float]) -> list[IPAddress]:
    """The addresses of *name*. Raises BackendUnavailable when there are none, CallTimeout."""
    # The C library's resolver takes no time-out. What it still does after ours concerns nobody: hence the daemon.
    answers: queue.SimpleQueue[list[IPAddress]] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_resolved(name)), name="dns", daemon=True).start()
    while (seconds := left()) > 0:
        try:
            addresses = answers.get(timeout=min(seconds, _LOOK_EVERY))
        except queue.Empty:
            continue
        if not addresses:
            raise BackendUnavailable(f"the host name {name} does not resolve", hint="check the name, and DNS here")
        return addresses
    raise CallTimeout(f"the host name {name} did not resolve in time")


def _resolved(name: str) -> list[IPAddress]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))
