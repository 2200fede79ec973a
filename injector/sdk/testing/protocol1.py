"""Protocol 1 over a plain gRPC channel, and the services that every go-plugin program has beside it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from injector.errors import (
    AccessDenied,
    BackendUnavailable,
    CallTimeout,
    CredentialsRefused,
    InjectorError,
    InvalidReference,
    PluginAnswerInvalid,
    PluginCrashed,
    PluginStartFailed,
    ResolutionError,
    Throttled,
    ValueNotFound,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from injector.sdk.store import Reference
    from injector.sdk.testing.process import Handshake

_LARGEST_MESSAGE = 2**31 - 1  # what Go's host sends and takes

_BY_STATUS: dict[str, type[ResolutionError]] = {
    "NOT_FOUND": ValueNotFound,
    "PERMISSION_DENIED": AccessDenied,
    "UNAUTHENTICATED": CredentialsRefused,
    "RESOURCE_EXHAUSTED": Throttled,
    "INVALID_ARGUMENT": InvalidReference,
    "FAILED_PRECONDITION": InvalidReference,
    "OUT_OF_RANGE": InvalidReference,
    "DEADLINE_EXCEEDED": CallTimeout,
}


class Connection:
    """
    A channel to a plugin; give it back with `close`.

    PluginStartFailed when nobody listens at the handshake's address within *timeout* seconds.
    """

    def __init__(self, handshake: Handshake, *, timeout: float) -> None:
        import grpc  # late: an author's other tests need none

        self._channel = _open_channel(handshake)
        try:
            grpc.channel_ready_future(self._channel).result(timeout)
        except grpc.FutureTimeoutError:
            self._channel.close()
            raise PluginStartFailed(f"nobody listens at {handshake.address}, the address of the handshake") from None
        self._printed = {"STDOUT": bytearray(), "STDERR": bytearray()}
        self._stdio = self._channel.unary_stream("/plugin.GRPCStdio/StreamStdio")(b"")
        self._reader = threading.Thread(target=self._collect, args=(self._stdio,), daemon=True)
        self._reader.start()

    @property
    def channel(self) -> Any:
        """The gRPC channel, which takes and gives bytes."""
        return self._channel

    def ask(self, reference: Reference, *, timeout: float) -> Any:
        """Begins a call; `outcome` gives its result."""
        from injector._proto.tokenstore.v1.token_store_pb2 import TokenValueRequest

        request = TokenValueRequest(token=reference.path, metadata=reference.raw_metadata.encode())
        method = self._channel.unary_unary("/proto.TokenStore/Value")
        return method.future(request.SerializeToString(), timeout=timeout)

    def health(self, service: str, *, timeout: float) -> str:
        """SERVING, NOT_SERVING, UNKNOWN or SERVICE_UNKNOWN; or the name of the status of a call that failed."""
        import grpc

        from injector._proto.grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

        request = HealthCheckRequest(service=service).SerializeToString()
        try:
            answer = self._channel.unary_unary("/grpc.health.v1.Health/Check")(request, timeout=timeout)
        except grpc.RpcError as error:
            return str(status_of_call(error)[0])
        return HealthCheckResponse.ServingStatus.Name(HealthCheckResponse.FromString(answer).status)

    def shut_down(self, *, timeout: float) -> None:
        """Asks the plugin to end. No answer is a good answer: Go plugins stop before they send it."""
        import grpc

        try:
            self._channel.unary_unary("/plugin.GRPCController/Shutdown")(b"", timeout=timeout)
        except grpc.RpcError:
            return

    def printed(self, channel: str) -> str:
        """What came by GRPCStdio; *channel* is STDOUT or STDERR."""
        return bytes(self._printed[channel]).decode("utf-8", "replace")

    def close(self) -> None:
        """Ends every call."""
        self._stdio.cancel()
        self._reader.join()
        self._channel.close()

    def _collect(self, stream: Iterator[bytes]) -> None:
        import grpc

        from injector._proto.goplugin.grpc_stdio_pb2 import StdioData

        try:
            for raw in stream:
                data = StdioData.FromString(raw)
                self._printed["STDERR" if data.channel == StdioData.STDERR else "STDOUT"] += data.data
        except grpc.RpcError:
            return  # the plugin's end, ours, or a plugin that has no such service


def _open_channel(handshake: Handshake) -> Any:
    # Any: grpc-stubs asks for serializers, which gRPC does not.
    import grpc

    # gRPC's addresses are URIs.
    target = f"unix:{quote(handshake.address)}" if handshake.network == "unix" else handshake.address
    options = [
        ("grpc.max_send_message_length", _LARGEST_MESSAGE),
        ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.insecure_channel(target, options)


def outcome(call: Any, reference: Reference, *, is_alive: Any) -> str | InjectorError:
    """
    The value that a call of `Connection.ask` brings, or why there is none, as an error that is not raised.

    What the plugin said is in the message, which the product never does: here its author is reading. *is_alive* is
    called after a lost connection, to tell a crash from a status.
    """
    import grpc
    from google.protobuf.message import DecodeError

    from injector._proto.tokenstore.v1.token_store_pb2 import TokenValueResponse

    try:
        return TokenValueResponse.FromString(call.result()).value
    except DecodeError:
        return PluginAnswerInvalid(f"the answer for {reference.path!r} is no TokenValueResponse with UTF-8 text")
    except grpc.RpcError as error:
        code, details, trailers = status_of_call(error)
    if code == "UNAVAILABLE" and "injector-error-code" not in trailers and not is_alive():
        return PluginCrashed(f"the plugin ended while {reference.path!r} was asked for")
    return to_error(code, details, trailers)


def to_error(code: str, details: str, trailers: dict[str, str]) -> ResolutionError:
    """
    The error of a status, its trailing metadata before its code (proto/tokenstore/v1/token_store.proto).

    *code* is the name of a grpc.StatusCode.
    """
    kind = _leaf(trailers.get("injector-error-code", "")) or _BY_STATUS.get(code, BackendUnavailable)
    message = unquote(trailers.get("injector-error-message", "")) or f"{code}: {details}"
    after = trailers.get("injector-retry-after")
    return kind(
        message,
        hint=unquote(trailers.get("injector-error-hint", "")) or None,
        retry_after=None if after is None else float(after),
    )


def _leaf(code: str) -> type[ResolutionError] | None:
    pending = [ResolutionError]
    while pending:
        kind = pending.pop()
        if not kind.__subclasses__() and kind.code == code:
            return kind
        pending += kind.__subclasses__()
    return None


def status_of_call(error: Any) -> tuple[str, str, dict[str, str]]:
    """Of a grpc.RpcError: the code's name, the details, and the trailing metadata that is text."""
    trailers = {name: value for name, value in error.trailing_metadata() or () if isinstance(value, str)}
    return error.code().name, error.details() or "", trailers
