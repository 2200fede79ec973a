"""
The start of a go-plugin program: the cookie, the host's wishes, and the one line that answers them.

Source: the behaviour of HashiCorp go-plugin 1.8. Hosts pass wishes by environment variables and read a line
`1|<protocol version>|unix or tcp|<address>|grpc|<certificate>[|<multiplexing>]` from standard output.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

COOKIE_NAME = "CONFIGMANAGER_PLUGIN"
COOKIE_VALUE = "configmanager-plugin-hello"
CORE_VERSION = 1
PROTOCOL_VERSIONS = (1, 2)
"""What this SDK speaks, lowest first."""

_LARGEST_PORT = 65535
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})  # Go's strconv.ParseBool


class StartRefused(Exception):
    """The plugin cannot be started as the host wants it. The text is for a person."""


@dataclass(frozen=True, slots=True)
class HostWishes:
    """
    What the host's environment asks for. `socket_group` is a name or a number; ports are a closed range, (0, 0) for
    any. `client_certificate` is the host's own in PEM, when it asks for AutoMTLS. `problems` are entries that were
    skipped, as text for the log.
    """

    protocol_version: int
    socket_directory: str = ""
    socket_group: str = ""
    ports: tuple[int, int] = (0, 0)
    asks_for_multiplexing: bool = False
    client_certificate: str = ""
    problems: tuple[str, ...] = ()


def is_started_by_host(environment: Mapping[str, str]) -> bool:
    """True when the magic cookie is there. It is no secret: it tells a host from a curious person."""
    return environment.get(COOKIE_NAME) == COOKIE_VALUE


def take_wishes(environment: MutableMapping[str, str]) -> HostWishes:
    """
    Reads the host's variables and removes them: a plugin that is a host itself must not pass them on.

    StartRefused when they ask for what cannot be given.
    """
    asked = {name: environment.pop(name) for name in list(environment) if name.startswith("PLUGIN_")}
    environment.pop(COOKIE_NAME, None)
    version, problems = negotiate(asked.get("PLUGIN_PROTOCOL_VERSIONS", ""))
    return HostWishes(
        protocol_version=version,
        socket_directory=asked.get("PLUGIN_UNIX_SOCKET_DIR", ""),
        socket_group=asked.get("PLUGIN_UNIX_SOCKET_GROUP", ""),
        ports=_port_range(asked),
        asks_for_multiplexing=asked.get("PLUGIN_MULTIPLEX_GRPC", "") in _TRUE,
        client_certificate=asked.get("PLUGIN_CLIENT_CERT", ""),
        problems=problems,
    )


def negotiate(offered: str, *, spoken: Sequence[int] = PROTOCOL_VERSIONS) -> tuple[int, tuple[str, ...]]:
    """
    The protocol version to answer with, and the entries of *offered* that are no numbers.

    The highest that both sides speak; when there is none, or nothing is offered, our lowest: the host then says
    what does not fit, in its own words.
    """
    common: set[int] = set()
    problems = []
    for entry in filter(None, offered.split(",")):
        text = entry.strip()
        if not (text.isascii() and text.isdigit()):
            problems.append(f"PLUGIN_PROTOCOL_VERSIONS: {entry!r} is no version; skipped")
        elif int(text) in spoken:
            common.add(int(text))
    return max(common, default=min(spoken)), tuple(problems)


def handshake_line(
    version: int, network: str, address: str, *, certificate: str = "", multiplexed: bool = False
) -> str:
    """
    The line for the host, with its newline.

    *certificate* is ours in base64 without padding. The field about multiplexing is there only when the host asked
    for it: older ones take it for a part of the certificate.
    """
    line = f"{CORE_VERSION}|{version}|{network}|{address}|grpc|{certificate}"
    return line + ("|true\n" if multiplexed else "\n")


def introduction(name: str) -> str:
    """What to say to a person who runs the program by hand; ends with a newline."""
    return (
        f"{name} is a plugin of injector and configmanager. It is started by them and not run by hand.\n"
        "Put it at .configmanager/plugins/<prefix>/<prefix>-"
        f"{go_platform()} (an executable file; <prefix> is that of the tokens, in lower case),\n"
        "or install it as a Python package with an entry point in the group injector.plugins.\n"
        "Then run injector or configmanager on a file with a token such as <PREFIX>://path.\n"
    )


def _port_range(asked: Mapping[str, str]) -> tuple[int, int]:
    lowest, highest = (_port(name, asked.get(name, "")) for name in ("PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT"))
    if lowest > highest:
        raise StartRefused(f"PLUGIN_MIN_PORT {lowest} is above PLUGIN_MAX_PORT {highest}")
    return lowest, highest


def _port(name: str, text: str) -> int:
    if not text:
        return 0
    if text.isascii() and text.isdigit() and int(text) <= _LARGEST_PORT:
        return int(text)
    raise StartRefused(f"{name} is not a port: {text!r}")


def go_platform() -> str:
    """This machine as Go names it: `linux-amd64`, `darwin-arm64`. The end of a plugin file's name."""
    machine = os.uname().machine
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return f"{sys.platform}-{architecture}"
