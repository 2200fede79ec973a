"""
Protocol 2 of a plugin: `injector.plugin.v2.TokenStoreService` over a store.

The specification is proto/injector/plugin/v2/plugin.proto. Handlers take and give bytes, as in `services`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NoReturn

from injector.errors import (
    AccessDenied,
    CallTimeout,
    CredentialsRefused,
    DeadlineExceeded,
    InvalidConfiguration,
    InvalidReference,
    MissingError,
    ResolutionError,
    Throttled,
)
from injector.sdk.answers import StoreFault, ask_all
from injector.sdk.hclog import exception_fields
from injector.sdk.status import Status, status_of
from injector.sdk.store import Answer, Reference, TokenStore

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    import grpc

    from injector.sdk.hclog import Logger

SERVICE = "injector.plugin.v2.TokenStoreService"

_WATCHES = 16
"""Open at the same time, for all connections; each holds a thread."""

# The first that fits counts: leaves before their parents. What is not here is ERROR_KIND_UNAVAILABLE.
_KINDS: tuple[tuple[type[ResolutionError], str], ...] = (
    (MissingError, "ERROR_KIND_NOT_FOUND"),
    (AccessDenied, "ERROR_KIND_DENIED"),
    (CredentialsRefused, "ERROR_KIND_CREDENTIALS"),
    (InvalidReference, "ERROR_KIND_INVALID"),
    (InvalidConfiguration, "ERROR_KIND_INVALID"),
    (Throttled, "ERROR_KIND_THROTTLED"),
    (CallTimeout, "ERROR_KIND_TIMEOUT"),
    (DeadlineExceeded, "ERROR_KIND_TIMEOUT"),
)

_LONGEST_TEXT = 2000
_FULL_MESSAGE = 1024 * 1024  # bytes of values; a larger one has a message of its own


class Protocol2Service:
    """
    The calls of protocol 2.

    Args:
        store: what answers.
        log: gets the place of the store's failures, never their text.
        name, version: what `serve` was given; the description may say otherwise.
        workers: calls of the store at the same time, for all kinds of calls.
        begin: counts a call until its context ends; False when it is over already.
    """

    def __init__(
        self,
        store: TokenStore,
        log: Logger,
        *,
        name: str,
        version: str,
        workers: int,
        begin: Callable[[grpc.ServicerContext], bool],
    ) -> None:
        self._store = store
        self._log = log
        self._name = name
        self._version = version
        self._workers = workers
        self._begin = begin
        self._watches = threading.BoundedSemaphore(_WATCHES)

    def describe(self, request: bytes, context: grpc.ServicerContext) -> bytes:  # noqa: ARG002 - it asks for nothing
        """DescribeRequest in, DescribeResponse out."""
        import json  # late: start-up

        messages = _messages()
        try:
            description = self._store.describe()
            limit = description.rate_limit
            answer = messages.DescribeResponse(
                prefixes=description.prefixes,
                name=description.name or self._name,
                version=description.version or self._version,
                largest_batch=description.largest_batch,
                most_in_flight=description.most_in_flight or self._workers,
                rate_limit=messages.RateLimit(calls_per_second=limit[0], burst=limit[1]) if limit else None,
                configuration_schema=json.dumps(description.schema) if description.schema is not None else "",
                can_watch=self._can_watch(),
            )
            return _bytes(answer)
        except Exception as error:  # noqa: BLE001 - authors' code
            self._fail(context, error)

    def configure(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """ConfigureRequest in, ConfigureResponse out: with the store's refusal when it is one."""
        messages = _messages()
        try:
            asked = _parsed(messages.ConfigureRequest, request)
            self._store.configure(asked.connection, _plain_struct(asked.settings))
        except ResolutionError as error:
            return _bytes(messages.ConfigureResponse(error=_error(error)))
        except Exception as error:  # noqa: BLE001 - authors' code
            self._fail(context, error)
        return _bytes(messages.ConfigureResponse())

    def resolve(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """ResolveRequest in, a ResolveResponse for each answer as the store gives it."""
        if not self._begin(context):
            return  # it waited for a thread until the host gave up; nobody reads this
        messages = _messages()
        answers: Generator[list[tuple[int, Answer | ResolutionError]], None, None] | None = None
        try:
            asked = _parsed(messages.ResolveRequest, request)
            answers = ask_all(self._store, _references(asked))
            for group in answers:
                for part in _parts(group):
                    if not context.is_active():
                        return
                    yield _bytes(messages.ResolveResponse(answers=part))
        except Exception as error:  # noqa: BLE001 - authors' code
            self._fail(context, error)
        finally:
            if answers is not None:
                answers.close()

    def watch(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """WatchRequest in, a WatchResponse for each change."""
        messages = _messages()
        if not self._can_watch():
            _abort(context, Status("UNIMPLEMENTED", "this store cannot watch"))
        if not self._watches.acquire(blocking=False):
            _abort(context, Status("RESOURCE_EXHAUSTED", "too many watches"))
        try:
            references = _references(_parsed(messages.WatchRequest, request))
            places = {reference: place for place, reference in enumerate(references)}
            for changed in self._store.watch(references):
                if not context.is_active():
                    return
                if changed in places:
                    yield _bytes(messages.WatchResponse(reference=places[changed]))
        except Exception as error:  # noqa: BLE001 - authors' code
            self._fail(context, error)
        finally:
            self._watches.release()

    def release(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """ReleaseRequest in, ReleaseResponse out."""
        messages = _messages()
        try:
            self._store.release(tuple(_parsed(messages.ReleaseRequest, request).leases))
        except Exception as error:  # noqa: BLE001 - authors' code
            self._fail(context, error)
        return _bytes(messages.ReleaseResponse())

    @property
    def most_watches(self) -> int:
        """Threads that watches may hold."""
        return _WATCHES

    def _can_watch(self) -> bool:
        return type(self._store).watch is not TokenStore.watch

    def _fail(self, context: grpc.ServicerContext, error: Exception) -> NoReturn:
        # Also when the host has gone: gRPC writes whatever else is raised here, with its text, to standard error.
        status = Status("DATA_LOSS", str(error)) if isinstance(error, StoreFault) else status_of(error)
        if not isinstance(error, ResolutionError):
            self._log.debug("the store failed", **exception_fields(error))
        _abort(context, status)


def _abort(context: grpc.ServicerContext, status: Status) -> NoReturn:
    import grpc  # late: start-up

    context.abort(grpc.StatusCode[status.code], status.details)


def _messages() -> Any:
    from injector._proto.injector.plugin.v2 import plugin_pb2  # late: start-up

    return plugin_pb2


def _parsed(message_type: Any, data: bytes) -> Any:
    from google.protobuf.message import DecodeError  # late: start-up

    try:
        return message_type.FromString(data)
    except DecodeError:
        raise InvalidReference("the host's request is not the message of this call") from None


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def _references(asked: Any) -> Sequence[Reference]:
    return tuple(Reference(one.path, one.metadata, asked.connection) for one in asked.references)


def _parts(group: list[tuple[int, Answer | ResolutionError]]) -> Iterator[list[Any]]:
    part: list[Any] = []
    size = 0
    for place, outcome in group:
        octets = len(outcome.value) if isinstance(outcome, Answer) else 0
        if part and size + octets > _FULL_MESSAGE:
            yield part
            part, size = [], 0
        part.append(_answer(place, outcome))
        size += octets
    yield part


def _answer(place: int, outcome: Answer | ResolutionError) -> Any:
    messages = _messages()
    if isinstance(outcome, ResolutionError):
        return messages.Answer(reference=place, error=_error(outcome))
    lease = outcome.lease
    value = messages.Value(
        data=outcome.value,
        version=outcome.version,
        ttl=_duration(outcome.ttl),
        lease=messages.Lease(id=lease.id, duration=_duration(lease.duration), renewable=lease.renewable)
        if lease
        else None,
    )
    return messages.Answer(reference=place, value=value)


def _error(error: ResolutionError) -> Any:
    kind = next((name for type_, name in _KINDS if isinstance(error, type_)), "ERROR_KIND_UNAVAILABLE")
    return _messages().Error(
        kind=kind,
        message=_text(error.message),
        hint=_text(error.hint or ""),
        retry_after=_duration(error.retry_after),
    )


def _text(text: str) -> str:
    return text[:_LONGEST_TEXT].encode("utf-8", "replace").decode()


def _duration(seconds: float | None) -> Any:
    if seconds is None or not 0 <= seconds < float("inf"):
        return None
    from google.protobuf.duration_pb2 import Duration  # late: start-up

    whole = int(seconds)
    return Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))


def _plain_struct(struct: Any) -> Mapping[str, Any]:
    return {name: _plain(value) for name, value in struct.fields.items()}


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _plain_struct(value.struct_value)
    if kind == "list_value":
        return [_plain(item) for item in value.list_value.values]
    if kind == "number_value":
        number: float = value.number_value
        return int(number) if number.is_integer() else number
    return None if kind in {"null_value", None} else getattr(value, kind)
