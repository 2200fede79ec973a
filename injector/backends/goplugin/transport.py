"""
The one place of the host that speaks gRPC: a channel to a plugin's socket, and the four services used over it.

Everything goes through this seam, so that another gRPC library can be put behind it. gRPC's errors end here: callers
see `CallFailed` with a status by name, never `details()` in a message.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

from injector.backends.goplugin.status import CallStatus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

_MOST_RECEIVED = 64 * 1024 * 1024
_ROOM_FOR_FRAMING = 64 * 1024
_NEVER = 2**31 - 1  # INT_MAX, in milliseconds: gRPC's word for "no idle time-out"
_HEALTH_SERVICE = "plugin"  # go-plugin's name for itself in the health service
_HEALTH_UNKNOWN = frozenset({"UNIMPLEMENTED", "NOT_FOUND"})
_LOST_BEGINS = ("Stream removed", "Socket closed", "failed to connect to all addresses")


class CallFailed(Exception):
    """A call ended without an answer. `lost` tells that the connection went, and not that the plugin answered so."""

    def __init__(self, status: CallStatus, *, lost: bool = False) -> None:
        super().__init__(status.code)
        self.status = status
        self.lost = lost


class NoConnection(Exception):
    """Nobody listens where the plugin said that it would."""


class AnswerUnreadable(Exception):
    """The answer is not the protocol's message, or its value is not UTF-8 text."""


def preload() -> None:
    """Imports gRPC. Called while the plugin starts, so that the two do not wait for each other."""
    # Read by gRPC's core when it is loaded. Its fork handlers are for a child that goes on using gRPC. Ours executes a
    # program, and with them was seen to die of SIGABRT on its way there (a poller thread finds its epoll closed).
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    # Its own log goes to standard error past ours, unredacted, and tells of every normal shutdown.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Its traces print the metadata of calls there, and so what a plugin says in an error, values included.
    os.environ.pop("GRPC_TRACE", None)
    import grpc.aio  # late: start-up

    from injector._proto.tokenstore.v1 import token_store_pb2  # late: start-up

    del grpc, token_store_pb2


class PluginChannel:
    """
    A connection to one plugin; give it back with `close`, also when `connect` failed.

    Args:
        target: the address, as gRPC writes it.
        max_value_bytes: the largest value that is of use; an answer may be that large, and 64 MiB in any case.
    """

    def __init__(self, target: str, *, max_value_bytes: int) -> None:
        import grpc.aio  # late: start-up

        # Any: grpc-stubs knows little of grpc.aio, and some of it wrongly.
        channel: Any = grpc.aio.insecure_channel(target, options=_options(max_value_bytes))
        self._channel = channel
        self._value = channel.unary_unary("/proto.TokenStore/Value")

    async def connect(self) -> None:
        """
        Connects. Has no time-out of its own: wrap it in one.

        Raises:
            NoConnection: nobody listens there.
        """
        from grpc import ChannelConnectivity  # late: start-up

        state = self._channel.get_state(try_to_connect=True)
        while state in {ChannelConnectivity.IDLE, ChannelConnectivity.CONNECTING}:
            await self._channel.wait_for_state_change(state)
            state = self._channel.get_state()
        if state is not ChannelConnectivity.READY:
            raise NoConnection

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands, as far as is known without a call."""
        from grpc import ChannelConnectivity  # late: start-up

        return bool(self._channel.get_state() is ChannelConnectivity.READY)

    async def check_health(self) -> bool:
        """
        Whether the plugin answers and calls itself healthy; one without the health service is believed.

        Has no time-out of its own. Raises CallFailed.
        """
        from injector._proto.grpc_health.v1 import health_pb2  # late: start-up

        request = health_pb2.HealthCheckRequest(service=_HEALTH_SERVICE).SerializeToString()
        try:
            answer = await self._call(self._channel.unary_unary("/grpc.health.v1.Health/Check"), request, None)
        except CallFailed as failure:
            if failure.status.code in _HEALTH_UNKNOWN:
                return True
            raise
        return bool(parsed(health_pb2.HealthCheckResponse, answer).status == health_pb2.HealthCheckResponse.SERVING)

    async def value(self, token: str, metadata: bytes, *, within: float) -> bytes:
        """
        One value as UTF-8 bytes; *within* is the call's deadline, in seconds from now.

        Raises:
            CallFailed: the plugin or gRPC answered with a status.
            AnswerUnreadable: the answer is not a TokenValueResponse with UTF-8 text.
        """
        from injector._proto.tokenstore.v1 import token_store_pb2  # late: start-up

        request = token_store_pb2.TokenValueRequest(token=token, metadata=metadata).SerializeToString()
        answer = await self._call(self._value, request, within)
        value: str = parsed(token_store_pb2.TokenValueResponse, answer).value
        return value.encode()

    async def output(self) -> AsyncIterator[tuple[str, bytes]]:
        """
        What the plugin prints after its handshake, each piece with its stream (`stdout` or `stderr`), until the
        connection ends. To be called once, and always: a plugin whose output nobody reads stops at its next print.
        """
        import grpc.aio  # late: start-up

        from injector._proto.goplugin import grpc_stdio_pb2  # late: start-up

        stream = self._channel.unary_stream("/plugin.GRPCStdio/StreamStdio")(b"")
        try:
            async for raw in stream:
                piece = parsed(grpc_stdio_pb2.StdioData, raw)
                yield "stderr" if piece.channel == grpc_stdio_pb2.StdioData.STDERR else "stdout", piece.data
        except grpc.aio.AioRpcError:
            return  # UNIMPLEMENTED where a plugin has nothing to send, UNAVAILABLE at its end
        finally:
            stream.cancel()

    async def call(self, method: str, request: bytes, *, within: float | None) -> bytes:
        """
        The answer of *method* (`/package.Service/Method`); *within* is its deadline in seconds from now.

        Raises CallFailed.
        """
        return await self._call(self._channel.unary_unary(method), request, within)

    async def stream(self, method: str, request: bytes, *, within: float | None) -> AsyncGenerator[bytes, None]:
        """
        The answers of *method* as they come, until the plugin ends them. Ending the iteration cancels the call.

        Raises CallFailed.
        """
        import grpc.aio  # late: start-up

        stream = self._channel.unary_stream(method)(request, timeout=within)
        try:
            async for raw in stream:
                yield raw
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from None
        except asyncio.CancelledError:
            raise _closed_under_the_call() from None
        finally:
            stream.cancel()

    async def shut_down(self, *, within: float) -> None:
        """Asks the plugin to end. No answer is the normal answer: Go plugins stop before they send it."""
        with contextlib.suppress(CallFailed):
            await self._call(self._channel.unary_unary("/plugin.GRPCController/Shutdown"), b"", within)

    async def close(self) -> None:
        """Ends the connection and every call under way."""
        await self._channel.close()

    async def _call(self, method: Any, request: bytes, within: float | None) -> bytes:
        import grpc.aio  # late: start-up

        try:
            answer: bytes = await method(request, timeout=within)
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from None
        except asyncio.CancelledError:
            raise _closed_under_the_call() from None
        return answer

    def _failure(self, error: Any) -> CallFailed:
        import grpc  # late: start-up

        code = error.code().name
        details = error.details() or ""
        # A status that the plugin sent leaves the connection up.
        ready = self._channel.get_state() is grpc.ChannelConnectivity.READY
        lost = code == "UNAVAILABLE" and (not ready or details.startswith(_LOST_BEGINS))
        trailers = {name: value for name, value in error.trailing_metadata() or () if isinstance(value, str)}
        return CallFailed(CallStatus(code, details, trailers), lost=lost)


def _closed_under_the_call() -> BaseException:
    """What a CancelledError in a call means: the caller's own cancellation, or `close` ended the channel under it."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        return asyncio.CancelledError()
    return CallFailed(CallStatus("CANCELLED"), lost=True)


def parsed(message_type: Any, raw: bytes) -> Any:
    """The message that *raw* is. Raises AnswerUnreadable."""
    from google.protobuf.message import DecodeError  # late: start-up

    try:
        return message_type.FromString(raw)
    except DecodeError:
        raise AnswerUnreadable from None


def _options(max_value_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max(_MOST_RECEIVED, max_value_bytes + _ROOM_FOR_FRAMING)),
        # The socket's file is removed once connected: going idle and dialling again would lose the plugin.
        ("grpc.client_idle_timeout_ms", _NEVER),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        # Ports are used again: no channel may inherit another's connection.
        ("grpc.use_local_subchannel_pool", 1),
        # gRPC drops an error with more text than this, and its code with it.
        ("grpc.max_metadata_size", 64 * 1024),
        ("grpc.absolute_max_metadata_size", 128 * 1024),
    ]
