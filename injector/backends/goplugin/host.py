"""
A backend that is a go-plugin program: protocol 1 with one call per reference, or protocol 2 with batches.

The plugin chooses the highest version that both speak; `protocol2` is what follows then.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from injector.backends.contract import Limits
from injector.backends.goplugin import transport
from injector.backends.goplugin.configured import ConfiguredConnections, no_connections
from injector.backends.goplugin.link import Link, NotListening
from injector.backends.goplugin.protocol2 import VERSION as PROTOCOL_2
from injector.backends.goplugin.protocol2 import Protocol2
from injector.backends.goplugin.status import to_error
from injector.backends.goplugin.wiring import DEFAULT, Wiring, refusal
from injector.errors import (
    HandshakeFailed,
    InjectorError,
    InvalidConfiguration,
    PluginAnswerInvalid,
    PluginCrashed,
    PluginError,
    PluginStartFailed,
    PluginStartTimeout,
)
from injector.model.references import Value
from injector.model.secret import Secret
from injector.telemetry.logs import Level
from injector.wire.tls import PeerWentAway, TlsFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence

    from injector.backends.contract import Answer, Outcome
    from injector.backends.goplugin.handshake import Handshake
    from injector.backends.goplugin.launch import PluginProcess
    from injector.backends.goplugin.reattach import AttachedProcess
    from injector.backends.goplugin.socket_directory import SocketDirectory
    from injector.connections.connection import Connection
    from injector.model.references import Reference
    from injector.telemetry.logs import Log
    from injector.wire.certificates import Identity

_CONFIGURE_WITHIN = 30.0  # seconds, before a watch, which has no time-out of its own
_BEFORE_READY = "before its first answer"
_LIMITS = Limits(largest_batch=1, most_in_flight=64)

_T = TypeVar("_T")


class GoPluginBackend:
    """
    A running plugin. Made by `start_plugin` or `reattach`; give it back with `close`.

    Implements `backends.contract.Backend`. A reference's path is sent as the token exactly as it is, its metadata as
    the same text in UTF-8.
    """

    def __init__(
        self,
        process: PluginProcess | AttachedProcess,
        directory: SocketDirectory,
        log: Log,
        *,
        stop_grace: float,
        max_value_bytes: int,
        prefix: str,
        configuration: Mapping[str, Any] | None,
        connections: Mapping[str, Connection] | None = None,
        wiring: Wiring = DEFAULT,
        identity: Identity | None = None,
    ) -> None:
        self._process = process
        self._prefix = prefix
        self._configuration = configuration
        self._protocol2: Protocol2 | None = None
        in_use = {} if connections is None else connections  # an empty one may fill later
        self._connections = ConfiguredConnections(in_use, self._configure, process.name)
        self._directory = directory
        self._log = log
        self._stop_grace = stop_grace
        self._max_value_bytes = max_value_bytes
        self._wiring = wiring
        self._identity = identity
        self._link: Link | None = None
        self._channel: transport.PluginChannel | None = None
        self._output: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._ready = False

    @property
    def name(self) -> str:
        """`plugin awsparamstr (/path/awsparamstr-linux-amd64)`."""
        return self._process.name

    @property
    def limits(self) -> Limits:
        """What the plugin describes; in protocol 1 one reference a call, 64 calls at the same time."""
        return self._protocol2.description.limits if self._protocol2 else _LIMITS

    @property
    def protocol(self) -> int:
        """The protocol version that the plugin chose."""
        return PROTOCOL_2 if self._protocol2 else 1

    @property
    def pid(self) -> int:
        """The number of the plugin's process."""
        return self._process.child.pid

    @property
    def loss(self) -> str | None:
        """Why it is of no use any more, after its name in a message; None while process and connection stand."""
        status = self._process.child.exit_status
        if status is not None:
            return f"ended between two calls: {status}{self._process.last_words()}"
        if self._channel is None or self._closing is not None:
            return "is stopped"
        if not self._channel.is_connected:
            return f"dropped its connection between two calls{self._process.last_words()}"
        return None

    async def check_health(self, *, within: float) -> bool:
        """Whether it says in *within* seconds that it is well; one without the health service is. Never raises."""
        if self._channel is None or self._closing is not None:
            return False
        try:
            async with asyncio.timeout(within):
                return await self._channel.check_health()
        except (TimeoutError, transport.CallFailed, transport.AnswerUnreadable):
            return False

    def fetch(self, references: Sequence[Reference], *, timeout: float) -> AsyncIterator[Answer]:
        """See Backend.fetch. In protocol 1 one call for each reference, one after the other, all within *timeout*."""
        deadline = asyncio.get_running_loop().time() + timeout
        if references[0].connection is not None and self._is_up():
            return self._answers_as(references[0].connection, references, deadline)
        if self._protocol2 and self._is_up():
            return self._protocol2.resolve(references, within=timeout)
        return self._answers(references, deadline)

    async def connect(self, connection: str, *, timeout: float) -> None:  # noqa: ASYNC109  # part of the contract
        """See contract.TakesConnections."""
        await self._connections.ensure(connection, deadline=asyncio.get_running_loop().time() + timeout)

    def watch(self, references: Sequence[Reference]) -> AsyncIterator[Reference]:
        """
        Each of *references* (of one connection) whose value may have changed, for as long as it is iterated.

        Ends when the plugin ends it. Raises InjectorError when the plugin cannot watch, or fails.
        """
        if self._protocol2 is None:
            raise PluginError(
                f"{self.name} speaks protocol 1, which cannot watch", hint="refresh its values at intervals instead"
            )
        if references[0].connection is not None:
            return self._watched_as(references[0].connection, references, self._protocol2)
        return self._protocol2.watch(references)

    @property
    def can_watch(self) -> bool:
        """Whether the plugin says that it can watch."""
        return self._protocol2 is not None and self._protocol2.description.can_watch

    async def release(self, leases: Sequence[str], *, connection: str | None = None) -> None:
        """Gives *leases* (ids) back before the end. Best effort: takes a second at most, never raises."""
        if self._protocol2 is not None and self._is_up():
            await self._protocol2.release_some(leases, connection=connection)

    def let_go(self, references: Sequence[Reference]) -> None:
        """See HandsOver.let_go."""
        if self._protocol2 is not None:
            self._protocol2.let_go(references)

    def take_over(self, leases: Mapping[Reference, str]) -> None:
        """See HandsOver.take_over."""
        if self._protocol2 is not None:
            self._protocol2.take_over(leases)

    async def close(self) -> None:
        """
        Gives leases back and ends the plugin: Shutdown, `stop_grace` seconds to end by itself, then SIGKILL to its
        process group.

        One that was reattached goes on. May be called more than once. Never raises, and goes on to its end when the
        caller is cancelled.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def get_ready(self, start_timeout: float) -> None:
        """Shakes hands, connects, asks whether it is well and configures it, once. Closed when that fails."""
        try:
            await self._get_ready(start_timeout)
        except BaseException:
            await self.close()
            raise

    async def _get_ready(self, start_timeout: float) -> None:
        transport.preload()
        waiting_for = "sent no handshake"
        try:
            async with asyncio.timeout(start_timeout):
                handshake = await self._process.handshake()
                self._check(handshake)
                waiting_for = f"did not answer at {handshake.address}"
                target = await self._open_link(handshake)
                self._channel = transport.PluginChannel(target, max_value_bytes=self._max_value_bytes)
                await self._connect(self._channel, handshake.address)
                waiting_for = "did not describe itself or take its configuration"
                await self._unless_ended(self._agree(handshake.protocol_version, self._channel))
        except TimeoutError:
            words = self._process.noise + self._process.last_words()
            raise PluginStartTimeout(
                f"{self.name} {waiting_for} within {start_timeout:g} s{words}",
                hint="raise plugins.startTimeout if it is slow; otherwise run it again with -vv to see what it writes",
            ) from None
        self._output = asyncio.create_task(self._read_output(self._channel))
        # Connected for good: the socket's file has served, and nothing is left behind whatever kills us now.
        self._directory.remove()
        self._ready = True

    def _check(self, handshake: Handshake) -> None:
        problem = refusal(handshake, self._wiring)
        if problem is not None:
            what, hint = problem
            raise HandshakeFailed(f"the handshake of {self.name} is of no use: {what}", hint=hint)
        if handshake.certificate is None and self._identity is not None:
            self._log.debug("the plugin is reached without TLS: it has no AutoMTLS", plugin=self.name)

    async def _open_link(self, handshake: Handshake) -> str:
        self._link = Link(
            handshake, identity=self._identity, multiplex=self._wiring.multiplex, directory=self._directory.path
        )
        opening = self._link.open(expected_pid=self.pid, name=self.name, log=self._log)
        try:
            return await self._unless_ended(opening)
        except NotListening:
            problem = f"does not listen at {handshake.address}, the address of its handshake"
            raise PluginStartFailed(f"{self.name} {problem}{self._process.last_words()}") from None
        except PeerWentAway:
            raise PluginStartFailed(f"{self.name} {await self._process.ended(_BEFORE_READY)}") from None
        except TlsFailed as failure:
            raise self._not_trusted(failure) from None

    def _not_trusted(self, failure: TlsFailed) -> HandshakeFailed:
        return HandshakeFailed(
            f"{self.name} {failure}{self._process.last_words()}",
            hint="if the plugin cannot do AutoMTLS, set plugins.autoMtlsFor to off for it",
        )

    async def _agree(self, version: int, channel: transport.PluginChannel) -> None:
        if version == PROTOCOL_2:
            protocol = await Protocol2.begin(
                channel,
                self.name,
                prefix=self._prefix,
                max_value_bytes=self._max_value_bytes,
                explain=self._explain,
                clean=self._log.redactor.clean,
            )
            if self._configuration is not None:
                await protocol.configure("", self._configuration)
            self._protocol2 = protocol
        elif self._configuration is not None:
            raise InvalidConfiguration(
                f"{self.name} speaks protocol 1, which takes no configuration",
                hint="remove plugins.configuration for it, or install a build that speaks protocol 2",
            )

    async def _connect(self, channel: transport.PluginChannel, address: str) -> None:
        try:
            await self._unless_ended(channel.connect())
            healthy = await self._unless_ended(channel.check_health())
        except transport.NoConnection:
            problem = f"does not listen at {address}, the address of its handshake"
        except transport.AnswerUnreadable:
            problem = "does not answer a health check as gRPC has it"
        except transport.CallFailed as failure:
            self._raise_tls_failure()
            if failure.lost:
                raise PluginStartFailed(f"{self.name} {await self._process.ended(_BEFORE_READY)}") from None
            problem = f"answered its first health check with {failure.status.code}"
        else:
            if healthy:
                return
            problem = "says that it is not serving"
        self._raise_tls_failure()
        raise PluginStartFailed(f"{self.name} {problem}{self._process.last_words()}")

    def _raise_tls_failure(self) -> None:
        failure = self._link.failure if self._link is not None else None
        if failure is not None and not isinstance(failure, PeerWentAway):
            raise self._not_trusted(failure) from None

    async def _unless_ended(self, work: Coroutine[Any, Any, _T]) -> _T:
        task = asyncio.ensure_future(work)
        ended = asyncio.ensure_future(self._process.child.wait())
        try:
            await asyncio.wait((task, ended), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise PluginStartFailed(f"{self.name} {await self._process.ended(_BEFORE_READY)}")
        finally:
            task.cancel()
            ended.cancel()
            await asyncio.gather(task, ended, return_exceptions=True)

    async def _configure(self, connection: Connection, within: float) -> None:
        if self._protocol2 is None:
            raise no_connections(self.name, connection.name)
        await self._protocol2.configure(
            connection.name, connection.configuration(), version=connection.version, within=within
        )

    async def _answers_as(
        self, connection: str, references: Sequence[Reference], deadline: float
    ) -> AsyncIterator[Answer]:
        await self._connections.ensure(connection, deadline=deadline)
        assert self._protocol2 is not None
        within = deadline - asyncio.get_running_loop().time()
        async with contextlib.aclosing(self._protocol2.resolve(references, within=within)) as answers:
            async for answer in answers:
                yield answer

    async def _watched_as(
        self, connection: str, references: Sequence[Reference], protocol: Protocol2
    ) -> AsyncIterator[Reference]:
        await self._connections.ensure(connection, deadline=asyncio.get_running_loop().time() + _CONFIGURE_WITHIN)
        async with contextlib.aclosing(protocol.watch(references)) as changed:
            async for reference in changed:
                yield reference

    async def _answers(self, references: Sequence[Reference], deadline: float) -> AsyncIterator[Answer]:
        for reference in references:
            yield reference, await self._answer(reference, deadline - asyncio.get_running_loop().time())

    async def _answer(self, reference: Reference, within: float) -> Outcome:
        channel = self._channel
        if channel is None or self._closing is not None:
            return PluginCrashed(f"{self.name} is stopped; {reference} was not asked for")
        if self._process.child.exit_status is not None:
            return await self._crashed(reference)
        try:
            value = await channel.value(reference.path, reference.metadata.encode(), within=within)
        except transport.CallFailed as failure:
            return await self._failed(reference, failure)
        except transport.AnswerUnreadable:
            return PluginAnswerInvalid(
                f"{self.name} has no usable answer for {reference}: it is not UTF-8 text, or not protocol 1",
                hint="protocol 1 carries text only; binary values have to be encoded by the plugin",
            )
        if len(value) > self._max_value_bytes:
            return self._too_large(reference, len(value))
        return Value(Secret(value))

    def _is_up(self) -> bool:
        return self._closing is None and self._process.child.exit_status is None

    async def _explain(self, failure: transport.CallFailed, what: str) -> InjectorError:
        return await self._failed(what, failure)

    async def _failed(self, reference: Reference | str, failure: transport.CallFailed) -> InjectorError:
        if self._log.is_enabled(Level.DEBUG):
            self._log.debug(
                "plugin call failed",
                plugin=self.name,
                reference=str(reference),
                status=failure.status.code,
                details=failure.status.details[:4096],
            )
        if failure.lost or (failure.status.code == "UNAVAILABLE" and self._process.child.exit_status is not None):
            return await self._crashed(reference)
        return to_error(failure.status, plugin=self.name, reference=reference)

    async def _crashed(self, reference: Reference | str) -> PluginCrashed:
        how = await self._process.ended(f"while {reference} was asked for")
        return PluginCrashed(f"{self.name} {how}", hint="run it again with -vv to see all that it writes")

    def _too_large(self, reference: Reference, size: int) -> PluginAnswerInvalid:
        return PluginAnswerInvalid(
            f"{self.name} answered {reference} with {size} bytes, and {self._max_value_bytes} are the most for a value",
            hint="raise the setting plugins.maxValueSize if the value is meant to be so large",
        )

    async def _read_output(self, channel: transport.PluginChannel) -> None:
        try:
            with contextlib.suppress(transport.AnswerUnreadable):
                async for stream, data in channel.output():
                    self._process.log_printed(stream, data)
        finally:
            self._process.finish_printed()

    async def _close(self) -> None:
        # `finally`, because a loop that is ending cancels this task as well.
        try:
            if self._channel is not None and self._ready and self._process.child.exit_status is None:
                if self._protocol2 is not None:
                    await self._protocol2.release()
                if self._process.is_ours:
                    await self._ask_to_end(self._channel)
        finally:
            self._directory.remove()
            try:
                await self._process.stop()
            finally:
                await self._disconnect()

    async def _ask_to_end(self, channel: transport.PluginChannel) -> None:
        # The answer may never come; what counts is that the process ends.
        asked = asyncio.create_task(channel.shut_down(within=self._stop_grace))
        await self._process.wait(self._stop_grace)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)

    async def _disconnect(self) -> None:
        if self._output is not None:
            self._output.cancel()
            await asyncio.gather(self._output, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()
        if self._link is not None:
            await self._link.close()
