"""Starts a plugin program and makes a backend of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from injector.backends.goplugin.environment import plugin_environment
from injector.backends.goplugin.host import GoPluginBackend
from injector.backends.goplugin.launch import PluginProcess
from injector.backends.goplugin.socket_directory import SocketDirectory
from injector.backends.goplugin.wiring import DEFAULT, Wiring
from injector.model.policy import AutoMtls
from injector.wire.certificates import self_signed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from injector.backends.discovery import Candidate
    from injector.connections.connection import Connection
    from injector.telemetry.logs import Log

_VERSIONS = (1, 2)
_MIB = 1024 * 1024


async def start_plugin(
    candidate: Candidate,
    *,
    log: Log,
    start_timeout: float,
    stop_grace: float = 2.0,
    environment: Mapping[str, str] | None = None,
    extra_variables: Sequence[str] = (),
    max_value_bytes: int = 16 * _MIB,
    wiring: Wiring = DEFAULT,
    configuration: Mapping[str, Any] | None = None,
    connections: Mapping[str, Connection] | None = None,
    versions: Collection[int] = _VERSIONS,
) -> GoPluginBackend:
    """
    Starts the program, shakes hands, connects and asks whether it is well.

    Args:
        candidate: what discovery found.
        log: where the plugin's own lines go; its redactor cleans what errors quote of them.
        start_timeout: seconds for all of it.
        stop_grace: seconds that `close` gives the plugin to end by itself.
        environment: our environment, of which the plugin gets an allow-listed part; os.environ by default.
        extra_variables: further variables that the plugin gets, by name or as `NAME_*`.
        max_value_bytes: the largest value that is accepted.
        wiring: what is asked of the connection.
        configuration: settings of the ambient connection, as JSON's types; needs protocol 2.
        connections: those that are in use, by name; it may change at any time, and holds for the next call.
        versions: the protocol versions that are offered to it.

    Raises:
        InvalidConfiguration: the plugin refuses *configuration*, or speaks protocol 1 and cannot take any.
        PluginError: it does not answer for this prefix.
        PluginRefused: the candidate was refused by discovery.
        PluginStartFailed: it cannot be executed, or ended, or does not listen where it said.
        PluginStartTimeout: it did not get so far in time.
        HandshakeFailed: it speaks something else, has no TLS or multiplexing although it must, or is not the one
            of its handshake.
        PluginError: another user's process listens on its socket.

    Nothing is left of a plugin that did not start. On Linux the plugin dies with the calling thread.
    """
    if candidate.refusal is not None:
        raise candidate.refusal
    inherited = os.environ if environment is None else environment
    identity = None if wiring.auto_mtls is AutoMtls.OFF else self_signed()
    directory = SocketDirectory.create(inherited, base=wiring.socket_directory, group=wiring.socket_group)
    try:
        process = await PluginProcess.launch(
            candidate,
            environment=plugin_environment(
                inherited,
                socket_directory=directory.path,
                versions=versions,
                extra=extra_variables,
                wiring=wiring,
                client_certificate=identity.pem if identity is not None else "",
            ),
            log=log,
            versions=versions,
        )
    except BaseException:
        directory.remove()
        raise
    backend = GoPluginBackend(
        process,
        directory,
        log,
        stop_grace=stop_grace,
        max_value_bytes=max_value_bytes,
        wiring=wiring,
        identity=identity,
        prefix=candidate.prefix,
        configuration=configuration,
        connections=connections,
    )
    await backend.get_ready(start_timeout)
    return backend
