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
from injector.sdk.testing.protocol2 import Arrival, Described, Protocol2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Self

    from injector.sdk.testing.watching import Watch

Question: TypeAlias = str | tuple[str, str] | Reference
"""A path, a path with the text between the brackets, or both as the store gets them."""

PROTOCOLS = (1, 2)
"""What this host speaks, lowest first."""

_HEALTH_TIMEOUT = 20.0  # seconds
_CRASH = 5.0  # seconds; the connection goes a moment before the process


class FakeHost:
    """
    A host of one plugin, for tests: `with FakeHost(["./shop-linux-amd64"]) as host: host.value("/path", "version=1")`.

    Blocking, without asyncio, usable from many threads. Errors are leaves of `injector.errors`.

    Args:
        command: program and arguments.
        environment: variables beside those of this process, which the plugin gets too, as from a Go host.
        protocols: what is offered, lowest first; the plugin takes the highest that it knows.
        start_timeout: seconds for the handshake and the first health check.
        stop_grace: seconds between Shutdown and SIGKILL; go-plugin's are two.
    """

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        environment: Mapping[str, str] | None = None,
        protocols: Sequence[int] = PROTOCOLS,
        start_timeout: float = 20.0,
        stop_grace: float = 2.0,
    ) -> None:
        self._command = [os.fspath(part) for part in command]
        self._environment = dict(environment or {})
        if not protocols or not set(protocols) <= set(PROTOCOLS):
            raise ValueError(f"protocols are one or more of {', '.join(map(str, PROTOCOLS))}")
        self._protocols = tuple(protocols)
        self._start_timeout = start_timeout
        self._stop_grace = stop_grace
        self._base: Path | None = None
        self._process: PluginProcess | None = None
        self._connection: Connection | None = None
        self._protocol2: Protocol2 | None = None
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
            ResolutionError, PluginAnswerInvalid, PluginCrashed: it speaks protocol 2 and did not describe itself.

        Nothing is left of a plugin that did not start.
        """
        # A short path: that of a socket may have 107 bytes.
        self._base = Path(tempfile.mkdtemp(prefix="fake-host-", dir=tempfile.gettempdir()))
        try:
            environment = host_environment(
                os.environ, versions=self._protocols, socket_base=str(self._base), extra=self._environment
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
        """
        All at the same time: for each question its value or its error, in the order of *questions*.

        In protocol 2 equal questions are asked once, in batches as large as the plugin wants them.
        """
        connection = self._connected()
        references = [as_reference(question) for question in questions]
        if self._protocol2 is not None:
            return self._protocol2.outcomes(references, timeout=timeout)
        calls = [connection.ask(reference, timeout=timeout) for reference in references]
        return [
            outcome(call, reference, is_alive=self._is_still_alive)
            for call, reference in zip(calls, references, strict=True)
        ]

    def describe(self) -> Described:
        """What the plugin said about itself at its start. Protocol 2 only, as all calls from here to `release`."""
        return self._in_protocol2().description

    def configure(self, connection: str, settings: Mapping[str, Any], *, timeout: float = 20.0) -> None:
        """
        Gives *connection* ("" is the ambient one) its settings: JSON's types.

        Raises InvalidConfiguration when the plugin refuses them, another ResolutionError when it says so or fails.
        """
        self._in_protocol2().configure(connection, settings, timeout=timeout)

    def resolve(self, questions: Iterable[Question], *, timeout: float = 60.0) -> list[Arrival]:
        """
        One batch, sent as it is, all of one connection: (place in *questions*, outcome) in the order of arrival.

        An outcome is an `Answer` whose value is bytes, or an error that is not raised. A status that ends the call is
        the outcome of every question without an answer; where all have one, or there is no question, it is raised.

        Raises:
            PluginAnswerInvalid: the plugin answered a question twice, one that was not asked, or left one out.
            PluginCrashed: it ended, and no question was open.
        """
        return self._in_protocol2().resolve([as_reference(question) for question in questions], timeout=timeout)

    def cancel(self, questions: Iterable[Question], *, after: int = 0, timeout: float = 60.0) -> None:
        """Begins one batch, and gives it up when *after* messages of the plugin have come."""
        references = [as_reference(question) for question in questions]
        self._in_protocol2().cancel(references, after=after, timeout=timeout)

    def watch(self, questions: Iterable[Question]) -> Watch:
        """
        Opens a watch of *questions*, all of one connection; `with` gives it up again.

        What the plugin refuses is raised when the watch is read.
        """
        return self._in_protocol2().watch([as_reference(question) for question in questions])

    def release(self, leases: Sequence[str], *, connection: str = "", timeout: float = 20.0) -> None:
        """Gives leases of *connection* back, by their ids. Raises a ResolutionError when the plugin says no."""
        self._in_protocol2().release(leases, connection=connection, timeout=timeout)

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
        handshake = process.handshake(self._start_timeout, versions=self._protocols)
        if handshake.certificate:
            raise HandshakeFailed("the handshake brings a certificate, and TLS was not asked for")
        if handshake.multiplexing == "true":
            raise HandshakeFailed("the handshake speaks of multiplexing, and it was not asked for")
        self._connection = Connection(handshake, timeout=self._start_timeout)
        self._handshake = handshake
        health = self.health()
        if health != "SERVING":
            raise PluginStartFailed(f"the plugin's health check says {health}, and hosts go on at SERVING only")
        if handshake.version == 2:
            channel = self._connection.channel
            self._protocol2 = Protocol2(channel, timeout=self._start_timeout, is_alive=self._is_still_alive)

    def _in_protocol2(self) -> Protocol2:
        self._connected()
        if self._protocol2 is None:
            raise RuntimeError("the plugin speaks protocol 1, which has no such call")
        return self._protocol2

    def _running(self) -> PluginProcess:
        if self._process is None:
            raise RuntimeError("the plugin has not been started")
        return self._process

    def _is_still_alive(self) -> bool:
        return self._running().wait(_CRASH) is None

    def _connected(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("the plugin has not been started")
        return self._connection


def as_reference(question: Question) -> Reference:
    """A question in any of its three forms as a reference."""
    if isinstance(question, Reference):
        return question
    return Reference(question) if isinstance(question, str) else Reference(*question)
