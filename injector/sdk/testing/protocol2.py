"""Protocol 2 over a plain gRPC channel. The specification is proto/injector/plugin/v2/plugin.proto."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from injector.errors import (
    AccessDenied,
    BackendUnavailable,
    CallTimeout,
    CredentialsRefused,
    InjectorError,
    InvalidConfiguration,
    InvalidReference,
    PluginAnswerInvalid,
    PluginCrashed,
    ResolutionError,
    Throttled,
    ValueNotFound,
)
from injector.sdk.store import Answer, Lease, RateLimit
from injector.sdk.testing.protocol1 import status_of_call, to_error
from injector.sdk.testing.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from injector.sdk.store import Reference

Arrival: TypeAlias = tuple[int, Answer | InjectorError]
"""A reference's place in its batch, and its value (always bytes) or why there is none."""

_SERVICE = "/injector.plugin.v2.TokenStoreService"
_MOST_IN_FLIGHT = 64  # where the plugin does not say

_KINDS: dict[str, type[ResolutionError]] = {
    "ERROR_KIND_NOT_FOUND": ValueNotFound,
    "ERROR_KIND_DENIED": AccessDenied,
    "ERROR_KIND_CREDENTIALS": CredentialsRefused,
    "ERROR_KIND_INVALID": InvalidReference,
    "ERROR_KIND_THROTTLED": Throttled,
    "ERROR_KIND_TIMEOUT": CallTimeout,
}


class Described(NamedTuple):
    """
    What a plugin says about itself. A batch that is not said is 1, calls in flight that are not said are 64.

    `schema` is JSON text, "" for a plugin that takes no settings.
    """

    prefixes: tuple[str, ...]
    name: str
    version: str
    largest_batch: int
    most_in_flight: int
    rate_limit: RateLimit | None
    schema: str
    can_watch: bool


class Protocol2:
    """
    A plugin asked in protocol 2. Asks for its description at once.

    Args:
        channel: the connection to it.
        timeout: seconds for the description.
        is_alive: called after a lost connection, to tell a crash from a status.

    The error of the status when there is no description.
    """

    def __init__(self, channel: Any, *, timeout: float, is_alive: Callable[[], bool]) -> None:
        self._channel = channel
        self._is_alive = is_alive
        self.description = self._describe(timeout)

    def configure(self, connection: str, settings: Mapping[str, Any], *, timeout: float) -> None:
        """Gives a connection its settings. Raises the plugin's error."""
        messages = _messages()
        request = messages.ConfigureRequest(connection=connection)
        request.settings.update(settings)
        answer = self._call("Configure", request, messages.ConfigureResponse, timeout)
        if answer.HasField("error"):
            error = _error(answer.error)
            if isinstance(error, InvalidReference):
                raise InvalidConfiguration(error.message, hint=error.hint)
            raise error

    def resolve(self, references: Sequence[Reference], *, timeout: float) -> list[Arrival]:
        """
        One batch, sent as it is: answers in the order of their arrival, each place once.

        A status that ends the call stands for every place without an answer; it is raised when there is none.
        PluginAnswerInvalid when the plugin answers twice, unasked, or not at all.
        """
        import grpc  # late: an author's other tests need none

        arrived: list[Arrival] = []
        left = set(range(len(references)))
        call = self._begin(references, timeout)
        try:
            for place, outcome in _answers(call):
                if place >= len(references):
                    raise PluginAnswerInvalid(f"the plugin answered number {place} of a batch of {len(references)}")
                if place not in left:
                    raise PluginAnswerInvalid(f"the plugin answered number {place} of its batch twice")
                left.remove(place)
                arrived.append((place, outcome))
        except grpc.RpcError as error:
            failure = self._failure(error)
            if not left:
                raise failure from None
            return arrived + [(place, failure) for place in sorted(left)]
        finally:
            call.cancel()
        if left:
            raise PluginAnswerInvalid(f"the plugin ended its answers without one for numbers {sorted(left)}")
        return arrived

    def cancel(self, references: Sequence[Reference], *, after: int, timeout: float) -> None:
        """Begins a batch and gives it up when *after* messages have come."""
        import grpc

        call = self._begin(references, timeout)
        try:
            for _ in range(after):
                next(call, None)
        except grpc.RpcError as error:
            raise self._failure(error) from None
        finally:
            call.cancel()

    def watch(self, references: Sequence[Reference]) -> Watch:
        """Opens a watch without a limit. Its end, and a refusal, show when it is read."""
        request = self._request(_messages().WatchRequest, references)
        method = self._channel.unary_stream(f"{_SERVICE}/Watch", response_deserializer=_watched_place)
        return Watch(method(request.SerializeToString()), size=len(references), failure=self._failure)

    def release(self, leases: Sequence[str], *, connection: str, timeout: float) -> None:
        """Gives leases back. Raises the error of the status."""
        messages = _messages()
        request = messages.ReleaseRequest(connection=connection, leases=leases)
        self._call("Release", request, messages.ReleaseResponse, timeout)

    def outcomes(self, references: Sequence[Reference], *, timeout: float) -> list[str | InjectorError]:
        """A text or an error for each of *references*, in batches and calls as the description wants them."""
        batches = list(self._batches(references))
        if not batches:
            return []
        with ThreadPoolExecutor(min(self.description.most_in_flight, len(batches), _MOST_IN_FLIGHT)) as pool:
            arrivals = list(pool.map(lambda batch: self._arrivals(batch, timeout), batches))
        known = {
            batch[place]: outcome
            for batch, arrived in zip(batches, arrivals, strict=True)
            for place, outcome in arrived
        }
        return [_text(known[reference], reference) for reference in references]

    def _arrivals(self, batch: Sequence[Reference], timeout: float) -> list[Arrival]:
        try:
            return self.resolve(batch, timeout=timeout)
        except InjectorError as error:
            return [(place, error) for place in range(len(batch))]

    def _batches(self, references: Sequence[Reference]) -> Iterator[Sequence[Reference]]:
        by_connection: dict[str, list[Reference]] = {}
        for reference in dict.fromkeys(references):
            by_connection.setdefault(reference.connection, []).append(reference)
        size = self.description.largest_batch
        for several in by_connection.values():
            yield from (several[at : at + size] for at in range(0, len(several), size))

    def _begin(self, references: Sequence[Reference], timeout: float) -> Any:
        request = self._request(_messages().ResolveRequest, references)
        return self._channel.unary_stream(f"{_SERVICE}/Resolve")(request.SerializeToString(), timeout=timeout)

    def _request(self, message_type: Any, references: Sequence[Reference]) -> Any:
        connections = {reference.connection for reference in references} or {""}
        if len(connections) > 1:
            raise ValueError("all references of a call are of one connection")
        request = message_type(connection=connections.pop())
        for reference in references:
            request.references.add(path=reference.path, metadata=reference.raw_metadata)
        return request

    def _describe(self, timeout: float) -> Described:
        messages = _messages()
        said = self._call("Describe", messages.DescribeRequest(), messages.DescribeResponse, timeout)
        limit = said.rate_limit
        return Described(
            prefixes=tuple(said.prefixes),
            name=said.name,
            version=said.version,
            largest_batch=said.largest_batch or 1,
            most_in_flight=said.most_in_flight or _MOST_IN_FLIGHT,
            rate_limit=RateLimit(limit.calls_per_second, limit.burst or 1) if said.HasField("rate_limit") else None,
            schema=said.configuration_schema,
            can_watch=said.can_watch,
        )

    def _call(self, method: str, request: Any, answer_type: Any, timeout: float) -> Any:
        import grpc

        try:
            raw = self._channel.unary_unary(f"{_SERVICE}/{method}")(request.SerializeToString(), timeout=timeout)
        except grpc.RpcError as error:
            raise self._failure(error) from None
        return _parsed(answer_type, raw)

    def _failure(self, error: Any) -> InjectorError:
        code, details, trailers = status_of_call(error)
        if code == "UNAVAILABLE" and not self._is_alive():
            return PluginCrashed("the plugin ended during a call")
        return to_error(code, details, trailers)


def _answers(call: Any) -> Iterator[Arrival]:
    for raw in call:
        message = _parsed(_messages().ResolveResponse, raw)
        if not message.answers:
            raise PluginAnswerInvalid("the plugin sent a ResolveResponse without an answer")
        yield from ((answer.reference, _outcome(answer)) for answer in message.answers)


def _watched_place(raw: bytes) -> int:
    place: int = _parsed(_messages().WatchResponse, raw).reference
    return place


def _outcome(answer: Any) -> Answer | InjectorError:
    kind = answer.WhichOneof("outcome")
    if kind is None:
        return PluginAnswerInvalid(f"the answer to number {answer.reference} has neither a value nor an error")
    if kind == "error":
        return _error(answer.error)
    value = answer.value
    lease = None
    if value.HasField("lease"):
        lease = Lease(value.lease.id, _seconds(value.lease.duration), value.lease.renewable)
    return Answer(value.data, value.version, _seconds(value.ttl) if value.HasField("ttl") else None, lease)


def _error(error: Any) -> ResolutionError:
    names = _messages().ErrorKind.DESCRIPTOR.values_by_number
    kind = _KINDS.get(names[error.kind].name, BackendUnavailable) if error.kind in names else BackendUnavailable
    return kind(
        error.message or "the plugin has no value and does not say why",
        hint=error.hint or None,
        retry_after=_seconds(error.retry_after) if error.HasField("retry_after") else None,
    )


def _text(outcome: Answer | InjectorError, reference: Reference) -> str | InjectorError:
    if isinstance(outcome, InjectorError):
        return outcome
    assert isinstance(outcome.value, bytes)  # as `_outcome` made it
    try:
        return outcome.value.decode()
    except UnicodeDecodeError:
        return PluginAnswerInvalid(f"the value of {reference.path!r} is no UTF-8 text", hint="ask by `resolve`")


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)


def _parsed(message_type: Any, raw: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return message_type.FromString(raw)
    except DecodeError:
        raise PluginAnswerInvalid(f"the plugin's answer is no {message_type.DESCRIPTOR.name}") from None


def _messages() -> Any:
    from injector._proto.injector.plugin.v2 import plugin_pb2

    return plugin_pb2
