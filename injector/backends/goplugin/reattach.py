"""
A plugin that somebody started by hand, under a debugger say, and that is used instead of being started.

go-plugin's ReattachConfig: where it listens, its process, and the protocol of its handshake line are told by the
variable INJECTOR_PLUGIN_REATTACH. The process is never signalled or asked to end, and its socket's file is left alone.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from injector.backends.discovery import Candidate, Kind
from injector.backends.goplugin.handshake import Handshake, parse
from injector.backends.goplugin.host import GoPluginBackend
from injector.backends.goplugin.link import NotListening, probe
from injector.backends.goplugin.running import RunningProcess
from injector.backends.goplugin.socket_directory import SocketDirectory
from injector.errors import HandshakeFailed, PluginNotFound, PluginRefused, SettingsError
from injector.model.policy import AutoMtls
from injector.settings.options import REATTACH_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from injector.backends.goplugin.wiring import Wiring
    from injector.connections.connection import Connection
    from injector.telemetry.logs import Log

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_HINT = 'write {"demo": {"network": "unix", "address": "/tmp/plugin1", "pid": 123, "protocol": 1}}'
_HINT_GONE = f"start it by hand, and write what its handshake line says to {REATTACH_VARIABLE}"


class Attachment(Struct, frozen=True, forbid_unknown_fields=True):
    """What the handshake line of a running plugin said, and the number of its process."""

    network: Literal["unix", "tcp"]
    address: str
    pid: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    protocol: Literal[1, 2] = 1

    def handshake(self) -> Handshake:
        """As if it had just been read. Raises HandshakeFailed for an address that no plugin may have."""
        return parse(f"1|{self.protocol}|{self.network}|{self.address}|grpc", versions=(1, 2))


def parse_attachments(text: str) -> dict[str, Attachment]:
    """
    The running plugins by their names in lower case; *text* is a JSON object as in docs/plugins.md.

    Raises SettingsError.
    """
    import msgspec.json  # late: start-up

    attachments: dict[str, Attachment] = {}
    try:
        for name, attachment in msgspec.json.decode(text.encode(), type=dict[str, Attachment]).items():
            if not _NAME.fullmatch(name.lower()):
                raise SettingsError(f"{REATTACH_VARIABLE}: a name in it is not one of a plugin", hint=_HINT)
            attachment.handshake()
            attachments[name.lower()] = attachment
    except HandshakeFailed as error:
        raise SettingsError(f"{REATTACH_VARIABLE}: {error.message}", hint=error.hint or _HINT) from None
    except ValueError as error:  # with msgspec's, which names types and places and no value
        what = str(error) if isinstance(error, msgspec.ValidationError) else "it is no JSON"
        raise SettingsError(f"{REATTACH_VARIABLE}: {what}", hint=_HINT) from None
    return attachments


def attached_candidate(
    attachment: Attachment, *, prefix: str, auto_mtls: AutoMtls, multiplex: bool, is_pinned: bool
) -> Candidate:
    """
    What `discovery` tells of other plugins, for one that runs already; it is not looked whether it does.

    Its `refusal` is what is asked of plugins and takes a start. *is_pinned*: a lock file has to vouch for all of them.
    """
    candidate = Candidate(
        prefix=prefix,
        kind=Kind.GOPLUGIN,
        location=f"process {attachment.pid} at {attachment.address}",
        argv=(),
        origin=REATTACH_VARIABLE,
    )
    refusal = _refusal(candidate, auto_mtls, multiplex=multiplex, is_pinned=is_pinned)
    return replace(candidate, refusal=refusal)


async def reattach(
    attachment: Attachment,
    *,
    prefix: str,
    log: Log,
    start_timeout: float,
    environment: Mapping[str, str],
    max_value_bytes: int,
    wiring: Wiring,
    is_pinned: bool = False,
    configuration: Mapping[str, Any] | None = None,
    connections: Mapping[str, Connection] | None = None,
) -> GoPluginBackend:
    """
    The backend of a plugin that runs already. Its `close` drops the connection and nothing else.

    Args: those of start_plugin; *is_pinned* tells that a lock file has to vouch for plugins.

    Raises:
        PluginRefused: what is asked of plugins cannot be had from one that runs already.
        PluginNotFound: there is no such process, or nobody listens there.
        PluginError: as start_plugin.
    """
    candidate = attached_candidate(
        attachment, prefix=prefix, auto_mtls=wiring.auto_mtls, multiplex=wiring.multiplex, is_pinned=is_pinned
    )
    if candidate.refusal is not None:
        raise candidate.refusal
    process = AttachedProcess.attach(candidate, attachment, log)
    try:
        await process.dial()
        directory = SocketDirectory.create(environment, base=wiring.socket_directory)
    except BaseException:
        await process.stop()
        raise
    backend = GoPluginBackend(
        process,
        directory,
        log,
        stop_grace=0,
        max_value_bytes=max_value_bytes,
        wiring=wiring,
        prefix=prefix,
        configuration=configuration,
        connections=connections,
    )
    await backend.get_ready(start_timeout)
    log.info("plugin reattached", plugin=backend.name)
    return backend


def _refusal(candidate: Candidate, auto_mtls: AutoMtls, *, multiplex: bool, is_pinned: bool) -> PluginRefused | None:
    if is_pinned:
        reason, hint = "a lock file has to vouch for it, and cannot for what runs already", "set plugins.verify to off"
    elif auto_mtls is AutoMtls.REQUIRE:
        reason, hint = "AutoMTLS is required, and takes a start", f"set plugins.autoMtlsFor.{candidate.name} to off"
    elif multiplex:
        reason, hint = "multiplexing is required, and takes a start", "set plugins.multiplex to false"
    else:
        return None
    return PluginRefused(f"{candidate} cannot be reattached: {reason}", hint=hint)


class _Gone:
    def __str__(self) -> str:
        return "how, is known to who started it"


class _Watched:
    """Another's process. Held by a pidfd, so that a later one with the same number is not taken for it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._exited: asyncio.Future[_Gone] = asyncio.get_running_loop().create_future()
        try:
            self._pidfd = os.pidfd_open(pid)
        except AttributeError:  # not Linux: looked for once, and its end is seen by its connection
            os.kill(pid, 0)
            self._pidfd = -1
        else:
            asyncio.get_running_loop().add_reader(self._pidfd, self._on_exit)

    @property
    def exit_status(self) -> _Gone | None:
        return self._exited.result() if self._exited.done() else None

    async def wait(self) -> _Gone:
        return await asyncio.shield(self._exited)

    def unwatch(self) -> None:
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _on_exit(self) -> None:
        self.unwatch()
        self._exited.set_result(_Gone())


class AttachedProcess(RunningProcess[_Watched]):
    """What `launch.PluginProcess` is for a plugin that is not ours: its words are where it was started."""

    is_ours = False
    noise = ""

    def __init__(self, name: str, child: _Watched, attachment: Attachment, log: Log, plugin: str) -> None:
        super().__init__(name, child, log, plugin)
        self._attachment = attachment

    @classmethod
    def attach(cls, candidate: Candidate, attachment: Attachment, log: Log) -> AttachedProcess:
        """Takes hold of the process. Raises PluginNotFound when there is none; `stop` lets go."""
        try:
            child = _Watched(attachment.pid)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise PluginNotFound(
                f"{candidate} is not there to be reattached: its process cannot be found ({reason})", hint=_HINT_GONE
            ) from None
        return cls(str(candidate), child, attachment, log, candidate.name)

    async def dial(self) -> None:
        """Raises PluginNotFound when nobody listens at its address."""
        try:
            await probe(self._attachment.handshake())
        except NotListening:
            raise PluginNotFound(
                f"{self.name} is not there to be reattached: nobody listens at its address", hint=_HINT_GONE
            ) from None

    async def handshake(self) -> Handshake:
        """What was told of it."""
        return self._attachment.handshake()

    async def ended(self, when: str) -> str:
        """For a message: `ended WHEN`, or that it has only dropped its connection."""
        await self.wait(0.5)
        if self.child.exit_status is None:
            return f"dropped its connection {when}, and is still running"
        return f"ended {when}: {self.child.exit_status}"

    def last_words(self) -> str:
        """Nothing: they went to where it was started."""
        return ""

    async def stop(self) -> None:
        """Lets go of the process. It goes on."""
        self.child.unwatch()
