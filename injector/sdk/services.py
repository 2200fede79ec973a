"""
The gRPC services of a plugin: TokenStore, and what go-plugin hosts expect beside it.

Handlers take and give bytes, so that protobuf is imported after the handshake and not before.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NoReturn

from injector.errors import InvalidReference
from injector.sdk.answers import ask
from injector.sdk.hclog import exception_fields
from injector.sdk.protocol2 import SERVICE
from injector.sdk.status import Status, status_of
from injector.sdk.store import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc

    from injector.sdk.hclog import Logger
    from injector.sdk.protocol2 import Protocol2Service
    from injector.sdk.stdio import Output
    from injector.sdk.store import TokenStore

HEALTHY = ("", "plugin")
"""The services that the health service knows; go-plugin asks for the second."""

_CONTROL_THREADS = 8  # stdio and each broker stream hold one for as long as a host is connected
_BROKER_STREAMS = 4  # a host opens one


class TokenStoreService:
    """`proto.TokenStore`: a call of the store for each request. Counts what is under way."""

    def __init__(self, store: TokenStore, log: Logger) -> None:
        self._store = store
        self._log = log
        self._under_way = 0
        self._changed = threading.Condition()

    def value(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """TokenValueRequest in, TokenValueResponse out, or a status."""
        if not self.begin(context):
            return b""  # it waited for a thread until the host gave up; nobody reads this
        answer = self._answer_or_status(request)
        if isinstance(answer, Status):
            _abort(context, answer)
        return answer

    def begin(self, context: grpc.ServicerContext) -> bool:
        """Counts a call as under way until its *context* ends; False when that is over already."""
        with self._changed:
            self._under_way += 1
        # Not when the store has answered but when the host has the answer, or no longer wants it.
        if context.add_callback(self._end_one):
            return True
        self._end_one()
        return False

    def wait_until_idle(self, timeout: float) -> bool:
        """True when no call is under way any more; *timeout* in seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._under_way == 0, timeout)

    def _end_one(self) -> None:
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def _answer_or_status(self, request: bytes) -> bytes | Status:
        try:
            return self._answer(request)
        except Exception as error:  # noqa: BLE001 - authors' code: whatever it raises becomes a status
            status = status_of(error)
            if status.code in {"UNKNOWN", "INTERNAL"}:
                self._log.debug("the store failed", **exception_fields(error))
            return status

    def _answer(self, data: bytes) -> bytes:
        from google.protobuf.message import DecodeError  # late: start-up

        from injector._proto.tokenstore.v1 import token_store_pb2 as messages  # late: start-up

        try:
            request = messages.TokenValueRequest.FromString(data)
            reference = Reference(request.token, request.metadata.decode())
        except (DecodeError, UnicodeDecodeError):
            raise InvalidReference("the host's request is no TokenValueRequest, or not in UTF-8") from None
        return messages.TokenValueResponse(value=ask(self._store, reference)).SerializeToString()


class ControlServices:
    """
    Health, and go-plugin's controller, stdio and broker.

    Args:
        output: what GRPCStdio gives out.
        shut_down: called when the host has asked for the end and has its answer.
    """

    def __init__(self, output: Output, shut_down: Callable[[], None]) -> None:
        self._output = output
        self._shut_down = shut_down
        self._broker_streams = threading.BoundedSemaphore(_BROKER_STREAMS)

    def check_health(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """SERVING for the services that there are, NOT_FOUND for others."""
        from injector._proto.grpc_health.v1 import health_pb2 as messages  # late: start-up

        service = messages.HealthCheckRequest.FromString(request).service
        if service not in HEALTHY:
            _abort(context, Status("NOT_FOUND", "unknown service"))
        return messages.HealthCheckResponse(status=messages.HealthCheckResponse.SERVING).SerializeToString()

    def shutdown(self, request: bytes, context: grpc.ServicerContext) -> bytes:  # noqa: ARG002 - Empty
        """Answers, and then begins the end."""
        if not context.add_callback(self._shut_down):
            self._shut_down()  # the call is over already
        return b""

    def stream_stdio(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:  # noqa: ARG002 - Empty
        """What the plugin prints, as StdioData."""
        from injector._proto.goplugin.grpc_stdio_pb2 import StdioData  # late: start-up

        context.add_callback(self._output.wake)
        for channel, data in self._output.read(context.is_active):
            yield StdioData(channel=StdioData.Channel.Name(channel), data=data).SerializeToString()

    def start_broker_stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """
        ConnInfo in, ConnInfo out; stays open until the host ends it.

        Nothing is brokered, since a store needs no second connection: a host that knocks for one is told so.
        """
        if not self._broker_streams.acquire(blocking=False):
            _abort(context, Status("RESOURCE_EXHAUSTED", "too many broker streams"))
        try:
            for request in requests:
                yield from _answer_to_knock(request)
        finally:
            self._broker_streams.release()


def _answer_to_knock(request: bytes) -> Iterator[bytes]:
    from google.protobuf.message import DecodeError  # late: start-up

    from injector._proto.goplugin.grpc_broker_pb2 import ConnInfo  # late: start-up

    try:
        info = ConnInfo.FromString(request)
    except DecodeError:
        return
    if info.knock.knock:
        refusal = ConnInfo.Knock(ack=True, error="this plugin brokers no connections")
        yield ConnInfo(service_id=info.service_id, knock=refusal).SerializeToString()


def register(
    server: grpc.Server, store: TokenStoreService, control: ControlServices, *, protocol2: Protocol2Service
) -> None:
    """Adds all services to *server*, which has not been started."""
    import concurrent.futures  # late: start-up

    import grpc  # late: start-up

    # Threads of their own: a host must get its health answers while all workers wait for a slow backend.
    pool = concurrent.futures.ThreadPoolExecutor(_CONTROL_THREADS, thread_name_prefix="control")
    # Threads are made when they are needed.
    watches = concurrent.futures.ThreadPoolExecutor(protocol2.most_watches + 1, thread_name_prefix="watch")
    unary, streaming = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
    services = {
        "proto.TokenStore": {"Value": unary(store.value)},
        SERVICE: {
            # On the control threads: the host waits for it while `prepare` may be busy.
            "Describe": unary(_on(pool, protocol2.describe)),
            "Configure": unary(protocol2.configure),
            "Resolve": streaming(protocol2.resolve),
            "Watch": streaming(_on(watches, protocol2.watch)),
            "Release": unary(protocol2.release),
        },
        "grpc.health.v1.Health": {"Check": unary(_on(pool, control.check_health))},
        "plugin.GRPCController": {"Shutdown": unary(_on(pool, control.shutdown))},
        "plugin.GRPCStdio": {"StreamStdio": streaming(_on(pool, control.stream_stdio))},
        "plugin.GRPCBroker": {
            "StartStream": grpc.stream_stream_rpc_method_handler(_on(pool, control.start_broker_stream))
        },
    }
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, handlers) for name, handlers in services.items())
    )


def _on(pool: object, method: Callable[..., object]) -> Callable[..., object]:
    def behaviour(request: object, context: object) -> object:
        return method(request, context)

    # grpcio looks for this attribute; without it the method runs on the common pool.
    behaviour.experimental_thread_pool = pool  # type: ignore[attr-defined]  # functions take attributes
    return behaviour


def _abort(context: grpc.ServicerContext, status: Status) -> NoReturn:
    import grpc  # late: start-up

    if status.trailers:
        context.set_trailing_metadata(status.trailers)
    context.abort(grpc.StatusCode[status.code], status.details)
