"""A plugin's process as a go-plugin host has it: started with the cookie, its line read, its pipes emptied for ever."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from injector.errors import HandshakeFailed, PluginStartFailed, PluginStartTimeout
from injector.sdk.handshake import COOKIE_NAME, COOKIE_VALUE, CORE_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import IO

_CHUNK = 64 * 1024
_FIELDS = (6, 7)  # the seventh is about multiplexing
_DEAD = ("Z", "X")
_POLL = 0.01  # seconds
_PIPES_END = 3.0  # seconds
_LAST_WORDS = 2000  # characters of standard error that a message quotes


class Handshake(NamedTuple):
    """The plugin's first line. `network` is unix or tcp; `certificate` is empty without AutoMTLS."""

    version: int
    network: str
    address: str
    certificate: str = ""
    multiplexing: str = ""


class LogLine(NamedTuple):
    """One line of standard error. Without hclog's JSON the level is empty and the message the whole line."""

    level: str
    message: str
    fields: Mapping[str, object]


def host_environment(
    inherited: Mapping[str, str], *, versions: Iterable[int], socket_base: str, extra: Mapping[str, str]
) -> dict[str, str]:
    """
    What go-plugin's client gives a plugin: all of our own environment, the cookie, versions and ports.

    Nothing of a host that we may be a plugin of ourselves is passed on. Sockets go below *socket_base* (TMPDIR).
    *extra* comes last.
    """
    return {
        **{name: value for name, value in inherited.items() if not name.startswith("PLUGIN_")},
        COOKIE_NAME: COOKIE_VALUE,
        "PLUGIN_MIN_PORT": "10000",
        "PLUGIN_MAX_PORT": "25000",
        "PLUGIN_PROTOCOL_VERSIONS": ",".join(map(str, versions)),
        "TMPDIR": socket_base,
        **extra,
    }


class PluginProcess:
    """
    A started plugin; give it back with `kill`, also when it has ended.

    Args:
        command: program and arguments.
        environment: all of it.

    PluginStartFailed when the program cannot be executed.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._name = " ".join(command)
        try:
            # A group of its own: what a wrapper script has started ends with it.
            self._popen = subprocess.Popen(  # noqa: S603 - the author's own plugin
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
            )
        except OSError as error:
            raise PluginStartFailed(f"{self._name} cannot be executed: {error.strerror}") from None
        self.stdout = _Sink(self._popen.stdout)
        self.stderr = _Sink(self._popen.stderr)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the number of the signal that killed it."""
        if self._popen.returncode is not None:
            return self._popen.returncode
        # Looked at and left a zombie: until `kill` the number of its group cannot become a stranger's.
        ended = os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def handshake(self, timeout: float, *, versions: Sequence[int]) -> Handshake:
        """
        The plugin's first line, waited for *timeout* seconds.

        Raises:
            PluginStartFailed: the plugin ended, or closed its standard output.
            PluginStartTimeout: no line came.
            HandshakeFailed: the line is no handshake that a host of *versions* can use.
        """
        if not self.stdout.wait_for_line(timeout):
            raise PluginStartTimeout(f"{self._name} sent no handshake within {timeout:g} s{self.last_words()}")
        line, newline, _ = self.stdout.text.partition("\n")
        if not newline and not line:
            self.wait(_PIPES_END)
            ended = "closed its standard output" if self.exit_code is None else f"ended with {self.exit_code}"
            raise PluginStartFailed(f"{self._name} {ended} before its handshake{self.last_words()}")
        try:
            return parse_handshake(line, versions=versions)
        except HandshakeFailed as error:
            raise HandshakeFailed(f"{self._name}: {error.message}", hint=error.hint) from None

    def wait(self, timeout: float) -> int | None:
        """The exit code, or None when it still runs after *timeout* seconds."""
        deadline = time.monotonic() + timeout
        while self.exit_code is None and time.monotonic() < deadline:
            time.sleep(_POLL)
        return self.exit_code

    def group(self) -> tuple[int, ...]:
        """The processes of its group that run, itself included; empty where there is no /proc."""
        return tuple(pid for pid, group, state in _processes() if group == self._popen.pid and state not in _DEAD)

    def send_signal(self, number: int) -> None:
        """Sends it to the plugin alone."""
        os.kill(self._popen.pid, number)

    def kill(self) -> None:
        """Kills what is left of its process group, and reads the pipes to their end. May be called more than once."""
        if self._popen.returncode is None:
            self._signal_group()
            self._popen.wait()
        self.stdout.finish()
        self.stderr.finish()

    def last_words(self) -> str:
        """The end of standard error, to be part of a message."""
        words = self.stderr.text.strip()[-_LAST_WORDS:]
        return f"; standard error: {words}" if words else "; nothing is on standard error"

    def _signal_group(self) -> None:
        try:
            os.killpg(self._popen.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
            return


def is_running(pid: int) -> bool:
    """False also for a process that has ended and that nobody waited for."""
    if Path("/proc/self/stat").exists():
        return any(number == pid and state not in _DEAD for number, _, state in _processes())
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def parse_handshake(line: str, *, versions: Sequence[int]) -> Handshake:
    """
    Reads `1|version|network|address|grpc|certificate|multiplexing` as go-plugin 1.8 does: from the first line only.

    HandshakeFailed says what is wrong with it.
    """
    fields = line.strip().split("|")
    if len(fields) not in _FIELDS:
        raise HandshakeFailed(
            f"the first line on standard output is no handshake but {line[:200]!r}",
            hint="nothing may be printed before `serve` is called: hosts written in Go read the first line only",
        )
    core, version, network, address, kind, certificate, *multiplexing = fields
    problem = ""
    if core != str(CORE_VERSION):
        problem = f"core protocol {core!r}, and hosts speak {CORE_VERSION}"
    elif version not in {str(known) for known in versions}:
        problem = f"protocol {version!r}, and the host offers {', '.join(map(str, versions))}"
    elif network not in {"unix", "tcp"} or not address:
        problem = f"an address that is none: {network!r} {address!r}"
    elif kind != "grpc":
        problem = f"the transport {kind!r}, and grpc is asked for"
    if problem:
        raise HandshakeFailed(f"the handshake names {problem}")
    return Handshake(int(version), network, address, certificate, *multiplexing)


def parse_log(text: str) -> list[LogLine]:
    """Standard error as lines of a log."""
    return [_log_line(line) for line in text.splitlines() if line.strip()]


def _log_line(line: str) -> LogLine:
    try:
        content = json.loads(line)
    except ValueError:
        return LogLine("", line, {})
    if not isinstance(content, dict) or not isinstance(content.get("@message"), str):
        return LogLine("", line, {})
    fields = {name: value for name, value in content.items() if not name.startswith("@")}
    return LogLine(str(content.get("@level", "")), content["@message"], fields)


def _processes() -> Iterator[tuple[int, int, str]]:
    # proc_pid_stat(5): pid (name) state parent group …; a name may hold blanks and brackets.
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended while we looked
            state, _, group, *_ = entry.read_text(errors="replace").rpartition(")")[2].split()
            yield int(entry.parent.name), int(group), state


class _Sink:
    """Everything that a pipe brings, collected by a thread until the pipe's end."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None  # Popen was asked for a pipe
        self._pipe = pipe
        self._data = bytearray()
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        with self._changed:
            return self._data.decode("utf-8", "replace")

    def wait_for_line(self, timeout: float) -> bool:
        """True when there is a line, or nothing more will come."""
        with self._changed:
            return self._changed.wait_for(lambda: b"\n" in self._data or self._ended, timeout)

    def finish(self) -> None:
        """Waits some seconds for the end at the most: somebody outside the process group may hold the pipe."""
        self._thread.join(_PIPES_END)
        if not self._thread.is_alive():
            self._pipe.close()

    def _collect(self) -> None:
        while data := os.read(self._pipe.fileno(), _CHUNK):
            with self._changed:
                self._data += data
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
