"""
Protocol 2 as the host speaks it: describe, configure, resolve in batches, watch, release.

The specification is proto/injector/plugin/v2/plugin.proto. The plugin is not trusted to keep it: what it says twice,
unasked or not at all is an error of the plugin, and costs its own references only.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from injector import errors
from injector.backends.contract import Limits, RateLimit
from injector.backends.goplugin import transport
from injector.backends.goplugin.status import hint_of, shown
from injector.model.references import Lease, Value
from injector.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence

    from injector.backends.contract import Answer, Outcome
    from injector.errors import InjectorError, ResolutionError
    from injector.model.references import Reference

VERSION = 2

_SERVICE = "/injector.plugin.v2.TokenStoreService"
_MOST_IN_FLIGHT = 64  # where the plugin does not say
_LARGEST_BATCH = 10_000
_END_WITHIN = 0.5  # seconds from the last answer to the end of the stream
_RELEASE_WITHIN = 1.0  # seconds: the end does not wait long for leases that run out by themselves

_KINDS: dict[str, type[ResolutionError]] = {
    "ERROR_KIND_NOT_FOUND": errors.ValueNotFound,
    "ERROR_KIND_DENIED": errors.AccessDenied,
    "ERROR_KIND_CREDENTIALS": errors.CredentialsRefused,
    "ERROR_KIND_INVALID": errors.InvalidReference,
    "ERROR_KIND_THROTTLED": errors.Throttled,
    "ERROR_KIND_UNAVAILABLE": errors.BackendUnavailable,
    "ERROR_KIND_TIMEOUT": errors.CallTimeout,
}


class Description(Struct, frozen=True):
    """What a plugin says about itself. `prefixes` is empty when it answers for any; `schema` is JSON text."""

    prefixes: frozenset[str]
    name: str
    version: str
    limits: Limits
    schema: str
    can_watch: bool


class Protocol2:
    """
    One plugin's process, asked in protocol 2. Made by `begin`.

    Args:
        channel: the connection to it.
        plugin: its name for messages.
        description: what it said.
        max_value_bytes: the largest value that is accepted.
        explain: what a failed call means, when *what* was asked for.
        clean: masks the secrets that the plugin was given, should its errors quote them.
    """

    def __init__(
        self,
        channel: transport.PluginChannel,
        plugin: str,
        description: Description,
        *,
        max_value_bytes: int,
        explain: Callable[[transport.CallFailed, str], Awaitable[InjectorError]],
        clean: Callable[[str], str],
    ) -> None:
        self._channel = channel
        self._plugin = plugin
        self.description = description
        self._max_value_bytes = max_value_bytes
        self._explain = explain
        self._clean = clean
        # The newest lease of each reference: one that was replaced runs out by itself, while what uses it moves on.
        self._leases: dict[Reference, str] = {}

    @classmethod
    async def begin(
        cls,
        channel: transport.PluginChannel,
        plugin: str,
        *,
        prefix: str,
        max_value_bytes: int,
        explain: Callable[[transport.CallFailed, str], Awaitable[InjectorError]],
        clean: Callable[[str], str],
    ) -> Protocol2:
        """
        Asks the plugin what it is. Has no time-out of its own.

        Raises:
            PluginError: it does not answer for *prefix*, or gives no description.
        """
        try:
            raw = await channel.call(f"{_SERVICE}/Describe", b"", within=None)
        except transport.CallFailed as failure:
            raise await explain(failure, "its description") from None
        description = _description(raw, plugin)
        if description.prefixes and prefix not in description.prefixes:
            raise errors.PluginError(
                f"{plugin} does not answer for {prefix} but for {', '.join(sorted(description.prefixes))}",
                hint="install it under the name of its own prefix, in lower case",
            )
        return cls(channel, plugin, description, max_value_bytes=max_value_bytes, explain=explain, clean=clean)

    async def configure(
        self, connection: str, settings: Mapping[str, Any], *, version: int = 0, within: float | None = None
    ) -> None:
        """
        Gives a connection ("" is the ambient one) its settings: JSON's types. *version* goes up with their changes.

        Raises:
            InvalidConfiguration: the plugin refuses them; ResolutionError of another kind for another reason.
            PluginError: it failed.
        """
        messages = _messages()
        request = messages.ConfigureRequest(connection=connection, version=version)
        request.settings.update(settings)
        try:
            raw = await self._channel.call(f"{_SERVICE}/Configure", request.SerializeToString(), within=within)
        except transport.CallFailed as failure:
            raise await self._explain(failure, "its configuration") from None
        answer = self._parsed(messages.ConfigureResponse, raw, "its configuration")
        if answer.HasField("error"):
            error = self._error(answer.error, "its configuration")
            if isinstance(error, errors.InvalidReference):
                hint = error.hint if shown(answer.error.hint) else hint_of(errors.InvalidConfiguration)
                raise errors.InvalidConfiguration(error.message, hint=hint)
            raise error

    async def resolve(self, references: Sequence[Reference], *, within: float) -> AsyncGenerator[Answer, None]:
        """See `Backend.fetch`; *within* is its timeout. All of *references* are of one connection."""
        request = self._request(_messages().ResolveRequest, references)
        left = dict(enumerate(references))
        stream = self._channel.stream(f"{_SERVICE}/Resolve", request, within=within)
        try:
            while (raw := await _next(stream, within=None if left else _END_WITHIN)) is not None:
                message = self._parsed(_messages().ResolveResponse, raw, _several(left.values()))
                for answer in message.answers:
                    reference = left.pop(answer.reference, None)
                    if reference is None:
                        raise self._fault(f"answered number {answer.reference} of its batch twice or unasked")
                    yield reference, self._outcome(answer, reference)
        except transport.CallFailed as failure:
            if left:
                raise await self._explain(failure, _several(left.values())) from None
        finally:
            await stream.aclose()
        if left:
            raise self._fault(f"ended its answers without one for {_several(left.values())}")

    async def watch(self, references: Sequence[Reference]) -> AsyncGenerator[Reference, None]:
        """
        Each reference whose value may have changed, until the plugin ends it. All are of one connection.

        Raises InjectorError when the watch fails.
        """
        if not self.description.can_watch:
            raise errors.PluginError(f"{self._plugin} cannot watch", hint="refresh its values at intervals instead")
        request = self._request(_messages().WatchRequest, references)
        stream = self._channel.stream(f"{_SERVICE}/Watch", request, within=None)
        try:
            async for raw in stream:
                place = self._parsed(_messages().WatchResponse, raw, "a watch").reference
                if place >= len(references):
                    raise self._fault(f"told of a change of number {place}, which is not watched")
                yield references[place]
        except transport.CallFailed as failure:
            raise await self._explain(failure, f"a watch of {_several(references)}") from None
        finally:
            await stream.aclose()

    async def release(self) -> None:
        """Gives back the leases that `resolve` brought. Best effort: never raises, takes a second at most."""
        leases, self._leases = self._leases, {}
        by_connection: dict[str, dict[str, None]] = {}
        for reference, lease in leases.items():
            by_connection.setdefault(reference.connection or "", {})[lease] = None
        for connection, held in by_connection.items():
            if not await self._give_back(connection, list(held)):
                return  # the others would wait for the same plugin

    async def release_some(self, leases: Sequence[str], *, connection: str | None) -> None:
        """Gives back those of *leases* that `resolve` brought last. Best effort, as `release`."""
        wanted = set(leases)
        held = {
            reference: lease
            for reference, lease in self._leases.items()
            if lease in wanted and (reference.connection or "") == (connection or "")
        }
        for reference in held:
            del self._leases[reference]
        if held:
            await self._give_back(connection or "", list(dict.fromkeys(held.values())))

    def let_go(self, references: Sequence[Reference]) -> None:
        """The leases of *references* are somebody else's to give back."""
        for reference in references:
            self._leases.pop(reference, None)

    def take_over(self, leases: Mapping[Reference, str]) -> None:
        """These leases are ours to give back, as long as `resolve` has brought no newer ones."""
        self._leases = {**leases, **self._leases}

    async def _give_back(self, connection: str, leases: list[str]) -> bool:
        request = _messages().ReleaseRequest(connection=connection, leases=leases)
        try:
            await self._channel.call(f"{_SERVICE}/Release", request.SerializeToString(), within=_RELEASE_WITHIN)
        except transport.CallFailed:
            return False
        return True

    def _request(self, message_type: Any, references: Sequence[Reference]) -> bytes:
        request = message_type(connection=references[0].connection or "")
        for reference in references:
            request.references.add(path=reference.path, metadata=reference.metadata)
        data: bytes = request.SerializeToString()
        return data

    def _outcome(self, answer: Any, reference: Reference) -> Outcome:
        kind = answer.WhichOneof("outcome")
        if kind == "error":
            return self._error(answer.error, str(reference))
        if kind is None:
            return errors.PluginAnswerInvalid(f"{self._plugin} answered {reference} with neither a value nor an error")
        value = answer.value
        if len(value.data) > self._max_value_bytes:
            return errors.PluginAnswerInvalid(
                f"{self._plugin} answered {reference} with {len(value.data)} bytes, "
                f"and {self._max_value_bytes} are the most for a value",
                hint="raise the setting plugins.maxValueSize if the value is meant to be so large",
            )
        lease = None
        if value.HasField("lease"):
            lease = Lease(value.lease.id, _seconds(value.lease.duration), value.lease.renewable)
            self._leases[reference] = lease.id
        else:
            self._leases.pop(reference, None)
        return Value(
            Secret(value.data),
            version=shown(value.version) or None,
            ttl=_seconds(value.ttl) if value.HasField("ttl") else None,
            lease=lease,
        )

    def _error(self, error: Any, what: str) -> ResolutionError:
        names = _messages().ErrorKind.DESCRIPTOR.values_by_number
        name = names[error.kind].name if error.kind in names else ""
        kind = _KINDS.get(name, errors.BackendUnavailable)
        message = shown(error.message) or f"has no value for {what}, and does not say why"
        return kind(
            self._clean(f"{self._plugin}: {message}"),
            hint=self._clean(shown(error.hint)) or hint_of(kind),
            retry_after=_seconds(error.retry_after) if error.HasField("retry_after") else None,
        )

    def _parsed(self, message_type: Any, raw: bytes, what: str) -> Any:
        try:
            return transport.parsed(message_type, raw)
        except transport.AnswerUnreadable:
            raise errors.PluginAnswerInvalid(f"{self._plugin} answered {what} with what is not protocol 2") from None

    def _fault(self, what: str) -> errors.PluginAnswerInvalid:
        return errors.PluginAnswerInvalid(f"{self._plugin} {what}", hint="this is a fault of the plugin")


def _messages() -> Any:
    from injector._proto.injector.plugin.v2 import plugin_pb2  # late: start-up

    return plugin_pb2


def _description(raw: bytes, plugin: str) -> Description:
    try:
        said = transport.parsed(_messages().DescribeResponse, raw)
    except transport.AnswerUnreadable:
        raise errors.PluginAnswerInvalid(f"{plugin} describes itself with what is not protocol 2") from None
    rate = None
    if said.HasField("rate_limit"):
        calls = said.rate_limit.calls_per_second
        if not (math.isfinite(calls) and calls > 0):
            raise errors.PluginAnswerInvalid(f"{plugin} describes a rate limit of {calls:g} calls a second")
        rate = RateLimit(calls, max(1, said.rate_limit.burst))
    return Description(
        prefixes=frozenset(said.prefixes),
        name=shown(said.name),
        version=shown(said.version),
        limits=Limits(
            largest_batch=min(max(1, said.largest_batch), _LARGEST_BATCH),
            most_in_flight=said.most_in_flight or _MOST_IN_FLIGHT,
            rate=rate,
        ),
        schema=said.configuration_schema,
        can_watch=said.can_watch,
    )


async def _next(stream: AsyncGenerator[bytes, None], *, within: float | None) -> bytes | None:
    # With every answer there, a stream that does not end holds up nobody.
    try:
        async with asyncio.timeout(within):
            return await anext(stream)
    except StopAsyncIteration:
        return None
    except TimeoutError:
        return None


def _several(references: Collection[Reference]) -> str:
    if not references:
        return "nothing more"
    first, *others = references
    return f"{first} and {len(others)} more" if others else str(first)


def _seconds(duration: Any) -> float:
    seconds: float = duration.seconds + duration.nanos / 1e9
    return max(0.0, seconds)
