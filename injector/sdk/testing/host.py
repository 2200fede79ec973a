"""A host for tests: starts any plugin as go-plugin's client does, and asks it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from injector.errors import HandshakeFailed, InjectorError, PluginStartFailed
from injector.sdk.store import Reference
from injector.sdk.testing.process import Handshake, LogLine, PluginProcess, host_environment, parse_log
from injector.sdk.testing.protocol1 import Connection, outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

Question: TypeAlias = str | tuple[str, str] | Reference
"""A path, a path with the text between the brackets, or both as the store gets them."""

PROTOCOLS = (1,)
"""What this host speaks, lowest first."""

_HEALTH_TIMEOUT = 5.0  # seconds


class FakeHost:
    """
    A host of one plugin, for tests: `with FakeHost(["./shop-linux-amd64"]) as host: host.value("/path", "version=1")`.

    Blocking, without asyncio, usable from many threads. Errors are leaves of `injector.errors`.

    Args:
        command: program and arguments.
        environment: variables beside those of this process, which the plugin gets too, as from a Go host.
        start_timeout: seconds for the handshake and the first health check.
        stop_grace: seconds between Shutdown and SIGKILL; go-plugin's are two.
    """

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        environment: Mapping[str, str] | None = None,
        start_timeout: float = 20.0,
        stop_grace: float = 2.0,
    ) -> None:
        self._command = [os.fspath(part) for part in command]
        self._environment = dict(environment or {})
        self._start_timeout = start_timeout
        self._stop_grace = stop_grace
        self._base: Path | None = None
        self._process: PluginProcess | None = None
        self._connection: Connection | None = None
        self._handshake: Handshake | None = None
        self.was_killed = False
        """Set by `close`: the plugin did not end by itself in time."""
        self.left_behind: tuple[str, ...] = ()
        """Set by `close`: files that the plugin left where its sockets go."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """
        Starts the plugin, shakes hands, connects, and asks whether it is well. `with` does it.

        Raises:
            PluginStartFailed: it cannot be executed, ended, or does not listen or serve.
            PluginStartTimeout: no handshake came in time.
            HandshakeFailed: its first line is no handshake that a Go host could use.

        Nothing is left of a plugin that did not start.
        """
        # A short path: that of a socket may have 107 bytes.
        self._base = Path(tempfile.mkdtemp(prefix="fake-host-", dir=tempfile.gettempdir()))
        try:
            environment = host_environment(
                os.environ, versions=PROTOCOLS, socket_base=str(self._base), extra=self._environment
            )
            self._process = PluginProcess(self._command, environment)
            self._connect(self._process)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Shutdown, `stop_grace` seconds, then SIGKILL to the plugin's process group. May be called more than once."""
        if self._process is not None:
            if self._connection is not None and self.is_alive:
                self._connection.shut_down(timeout=self._stop_grace)
                self.was_killed = self._process.wait(self._stop_grace) is None
            self._process.kill()
        if self._connection is not None:
            self._connection.close()
        if self._base is not None and self._base.exists():
            self.left_behind = tuple(sorted(str(path.relative_to(self._base)) for path in self._base.rglob("*")))
            shutil.rmtree(self._base)

    # ---------------------------------------------------------------------------------------------------- calls

    def value(self, path: str, metadata: str = "", *, timeout: float = 20.0) -> str:
        """
        One value; *metadata* is the text between the brackets of a token, *timeout* is in seconds.

        Raises the leaf of ResolutionError that the plugin answered with (BackendUnavailable for a status that says
        nothing better), PluginCrashed when it ended, PluginAnswerInvalid when its answer is no text.
        """
        (answer,) = self.outcomes([(path, metadata)], timeout=timeout)
        if isinstance(answer, InjectorError):
            raise answer
        return answer

    def outcomes(self, questions: Iterable[Question], *, timeout: float = 60.0) -> list[str | InjectorError]:
        """All at the same time: for each question its value or its error, in the order of *questions*."""
        connection = self._connected()
        references = [as_reference(question) for question in questions]
        calls = [connection.ask(reference, timeout=timeout) for reference in references]
        return [
            outcome(call, reference, is_alive=self._is_still_alive)
            for call, reference in zip(calls, references, strict=True)
        ]

    def health(self, service: str = "plugin") -> str:
        """SERVING, NOT_SERVING, UNKNOWN; or the name of the gRPC status of the check, such as NOT_FOUND."""
        return self._connected().health(service, timeout=_HEALTH_TIMEOUT)

    # -------------------------------------------------------------------------------------------------- its end

    def shut_down(self) -> None:
        """Asks the plugin to end, as a host does."""
        self._connected().shut_down(timeout=self._stop_grace)

    def terminate(self) -> None:
        """Sends SIGTERM to the plugin."""
        self._running().send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Sends SIGINT to the plugin, as Ctrl-C does to host and plugins at once."""
        self._running().send_signal(signal.SIGINT)

    def wait(self, timeout: float) -> int | None:
        """The plugin's exit code once it has ended, None when it runs for another *timeout* seconds."""
        return self._running().wait(timeout)

    # ----------------------------------------------------------------------------------------- what there is to see

    @property
    def is_alive(self) -> bool:
        return self._running().exit_code is None

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def handshake(self) -> Handshake:
        if self._handshake is None:
            raise RuntimeError("the plugin has not been started")
        return self._handshake

    @property
    def processes(self) -> tuple[int, ...]:
        """The plugin and what it started, as far as they run and are in its process group (Linux only)."""
        return self._running().group()

    @property
    def socket_files(self) -> tuple[str, ...]:
        """What is now where the plugin's sockets go: paths below TMPDIR, and the handshake's own."""
        below = sorted(str(path) for path in self._base.rglob("*")) if self._base is not None else []
        address = self.handshake.address
        if self.handshake.network == "unix" and Path(address).exists() and address not in below:
            below.append(address)
        return tuple(below)

    @property
    def log(self) -> list[LogLine]:
        """Standard error, line by line; what hclog wrote is taken apart."""
        return parse_log(self.stderr)

    @property
    def stderr(self) -> str:
        """Standard error as it came."""
        return self._running().stderr.text

    @property
    def stdout(self) -> str:
        """What came on standard output after the handshake, and what was printed by way of GRPCStdio."""
        _, _, raw = self._running().stdout.text.partition("\n")
        return raw + (self._connection.printed("STDOUT") if self._connection else "")

    @property
    def printed_errors(self) -> str:
        """What the plugin printed to its standard error by way of GRPCStdio."""
        return self._connection.printed("STDERR") if self._connection else ""

    def _connect(self, process: PluginProcess) -> None:
        handshake = process.handshake(self._start_timeout, versions=PROTOCOLS)
        if handshake.certificate:
            raise HandshakeFailed("the handshake brings a certificate, and TLS was not asked for")
        if handshake.multiplexing == "true":
            raise HandshakeFailed("the handshake speaks of multiplexing, and it was not asked for")
        self._connection = Connection(handshake, timeout=self._start_timeout)
        self._handshake = handshake
        health = self.health()
        if health != "SERVING":
            raise PluginStartFailed(f"the plugin's health check says {health}, and hosts go on at SERVING only")

    def _running(self) -> PluginProcess:
        if self._process is None:
            raise RuntimeError("the plugin has not been started")
        return self._process

    def _is_still_alive(self) -> bool:
        return self._running().wait(1.0) is None  # the connection goes a moment before the process

    def _connected(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("the plugin has not been started")
        return self._connection


def as_reference(question: Question) -> Reference:
    """A question in any of its three forms as a reference."""
    if isinstance(question, Reference):
        return question
    return Reference(question) if isinstance(question, str) else Reference(*question)
