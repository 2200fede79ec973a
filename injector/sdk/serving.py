"""
`serve`: makes a go-plugin program of a store.

The order is what hosts rely on: cookie, listen, one line on standard output, and only then everything slow. The main
thread then waits for the end: the host's Shutdown, SIGTERM, or the host's own end.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from injector.sdk.handshake import StartRefused, handshake_line, introduction, is_started_by_host, take_wishes
from injector.sdk.hclog import Logger, exception_fields

if TYPE_CHECKING:
    from types import TracebackType

    import grpc

    from injector.sdk.gateway import Gateway
    from injector.sdk.handshake import HostWishes
    from injector.sdk.listener import Listener
    from injector.sdk.services import TokenStoreService
    from injector.sdk.stdio import Output
    from injector.sdk.store import TokenStore

WORKERS = 32
"""Calls of the store at the same time; more wait."""

LARGEST_MESSAGE = 64 * 1024 * 1024
"""Bytes of a request."""

# Seconds. A host kills a plugin two seconds after it asked for its end; all of these together stay below.
_GRACE_FOR_CALLS = 0.8
_GRACE_FOR_SERVER = 0.3
_GRACE_FOR_GATEWAY = 0.2
_GRACE_FOR_STORE = 0.5

_PARENT_CHECK_MS = 5000  # in case something else holds the host's end of the pipe open

_END = b"\xff"  # on the pipe that wakes the main thread; other bytes are the numbers of signals


def serve(store: TokenStore, *, name: str = "", version: str = "unknown", workers: int = WORKERS) -> NoReturn:
    """
    Serves *store* until the host has had enough, and ends the process.

    Args:
        store: answers the calls.
        name: what the plugin is called in its log and in its text for people; the program's name by default.
        version: what `--version` prints.
        workers: how many calls of the store may be under way at the same time.

    Without a host's cookie in the environment the program says what it is on standard error and exits with 1.
    """
    name = name or _program_name()
    if not is_started_by_host(os.environ):
        _introduce(name, version, sys.argv[1:])
    import gc  # late: start-up

    gc.disable()  # what is imported from here on stays: collecting it costs a tenth of the start
    log = Logger(name)
    try:
        wishes = take_wishes(os.environ)
        plugin = _Plugin(store, log, workers, name=name, version=version)
        plugin.start(wishes)
    except StartRefused as error:
        sys.stderr.write(f"{name}: {error}\n")
        sys.exit(1)
    gc.enable()
    gc.freeze()
    plugin.run_until_end()
    plugin.stop()


class _Plugin:
    """The life of a plugin's process."""

    def __init__(self, store: TokenStore, log: Logger, workers: int, *, name: str, version: str) -> None:
        self._name = name
        self._version = version
        self._store = store
        self._log = log
        self._workers = workers
        self._wake_read, self._wake_write = os.pipe()
        self._is_host_waiting = True
        self._parent = os.getppid()

    def start(self, wishes: HostWishes) -> None:
        """Everything up to and including the handshake line. StartRefused when there is nowhere to listen."""
        self._obey_signals()
        import concurrent.futures  # late: start-up

        import grpc  # late: start-up

        from injector.sdk.listener import listen  # late: start-up
        from injector.sdk.protocol2 import Protocol2Service
        from injector.sdk.services import ControlServices, TokenStoreService, register
        from injector.sdk.stdio import Capture, Output

        pool = concurrent.futures.ThreadPoolExecutor(self._workers, thread_name_prefix="value")
        options = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", LARGEST_MESSAGE))
        self._server: grpc.Server = grpc.server(pool, options=options)
        self._output: Output = Output()
        self._service: TokenStoreService = TokenStoreService(self._store, self._log)
        protocol2 = Protocol2Service(
            self._store,
            self._log,
            name=self._name,
            version=self._version,
            workers=self._workers,
            begin=self._service.begin,
        )
        register(self._server, self._service, ControlServices(self._output, self._wake), protocol2=protocol2)
        self._gateway = self._gateway_for(wishes)
        self._listener: Listener = listen(self._server, wishes, self._gateway)
        self._server.start()
        if self._gateway is not None:
            self._gateway.start()
        line = handshake_line(
            wishes.protocol_version,
            self._listener.network,
            self._listener.address,
            certificate=self._gateway.certificate if self._gateway is not None else "",
            multiplexed=wishes.asks_for_multiplexing,
        )
        try:
            os.write(1, line.encode())
        except OSError:
            self._remove_sockets()
            raise StartRefused("the host has gone before the plugin had started") from None
        self._capture = Capture(self._output)
        self._original_stdout = self._capture.install()
        self._report(wishes)

    def run_until_end(self) -> None:
        """Prepares the store aside and moves what is printed, until somebody asks for the end."""
        sys.excepthook = self._log_uncaught
        threading.excepthook = lambda uncaught: self._log_uncaught(
            uncaught.exc_type, uncaught.exc_value or uncaught.exc_type(), uncaught.exc_traceback
        )
        threading.Thread(target=self._prepare, name="prepare", daemon=True).start()
        import select  # late: start-up

        poller = select.poll()
        poller.register(self._original_stdout, 0)  # errors only: the host has closed its end
        poller.register(self._wake_read, select.POLLIN)
        for fd in self._capture.readers:
            poller.register(fd, select.POLLIN)
        while os.getppid() == self._parent:
            for fd, events in poller.poll(_PARENT_CHECK_MS):
                if fd == self._wake_read:
                    if _END in os.read(fd, 64):
                        return
                    continue  # a signal: its handler runs before the next wait
                if fd == self._original_stdout and events & (select.POLLERR | select.POLLHUP):
                    self._is_host_waiting = False
                    return
                if fd not in self._capture.readers or not self._capture.pump(fd):
                    poller.unregister(fd)
        self._is_host_waiting = False

    def stop(self) -> NoReturn:
        """Lets calls end if a host still waits for them, and ends the process within two seconds, whatever hangs."""
        if self._is_host_waiting:
            self._service.wait_until_idle(_GRACE_FOR_CALLS)
        self._output.close()
        self._server.stop(None).wait(_GRACE_FOR_SERVER)
        if self._gateway is not None and self._is_host_waiting:
            self._gateway.wait_until_quiet(_GRACE_FOR_GATEWAY)
        self._remove_sockets()
        closing = threading.Thread(target=self._close, name="close", daemon=True)
        closing.start()
        closing.join(_GRACE_FOR_STORE)
        os._exit(0)  # not sys.exit: that waits for threads which hang in a backend

    def _gateway_for(self, wishes: HostWishes) -> Gateway | None:
        if not wishes.client_certificate and not wishes.asks_for_multiplexing:
            return None
        from injector.sdk.gateway import Gateway  # late: only for hosts that ask for it

        gateway = Gateway(
            client_certificate=wishes.client_certificate, multiplexed=wishes.asks_for_multiplexing, log=self._log
        )
        for directory in dict.fromkeys(("", wishes.socket_directory)):
            try:
                gateway.put_before(self._server, directory)
            except (OSError, RuntimeError):  # RuntimeError: gRPC could not bind
                continue
            return gateway
        raise StartRefused("there is no place for a private socket, which AutoMTLS and multiplexing need")

    def _remove_sockets(self) -> None:
        self._listener.remove()
        if self._gateway is not None:
            self._gateway.remove()

    def _obey_signals(self) -> None:
        import signal  # late: start-up

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the host's business; it then asks us to end
        signal.signal(signal.SIGTERM, lambda *_: self._wake())
        # The handler runs only when the main thread comes back from its wait, and a signal does not end that wait when
        # it comes just before it, or when another thread takes it. The byte that Python writes for it does.
        os.set_blocking(self._wake_write, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def _wake(self) -> None:
        os.write(self._wake_write, _END)

    def _report(self, wishes: HostWishes) -> None:
        for problem in wishes.problems:
            self._log.warn("a wish of the host is skipped", problem=problem)
        if self._listener.problem:
            self._log.warn(
                "listening on a loopback port that every local user can reach", reason=self._listener.problem
            )

    def _prepare(self) -> None:
        try:
            from injector._proto.tokenstore.v1 import token_store_pb2  # noqa: F401 - the first call finds it there

            self._store.prepare()
        except Exception as error:  # noqa: BLE001 - the first call meets it again and can report it
            self._log.debug("preparing the store failed", **exception_fields(error))

    def _close(self) -> None:
        try:
            self._store.close()
        except Exception as error:  # noqa: BLE001 - the process ends anyway
            self._log.debug("closing the store failed", **exception_fields(error))

    def _log_uncaught(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        # Not Python's own report: that prints the exception's text.
        del kind, traceback
        self._log.error("uncaught exception", **exception_fields(error))


def _introduce(name: str, version: str, arguments: list[str]) -> NoReturn:
    if "--version" in arguments:
        sys.stdout.write(f"{name} {version}\n")
        sys.exit(0)
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(introduction(name))
        sys.exit(0)
    sys.stderr.write(introduction(name))
    sys.exit(1)


def _program_name() -> str:
    path = sys.argv[0] if sys.argv and sys.argv[0] not in {"", "-c", "-m"} else "this program"
    base = os.path.basename(path)  # noqa: PTH119 - start-up
    if base == "__main__.py":
        base = os.path.basename(os.path.dirname(path))  # noqa: PTH119, PTH120 - start-up
    return base.removesuffix(".py")
