"""
`injector exec`: files and variables first, then a command that gets them, and again when they change.

Without anything to do later the command takes this process's place. Otherwise it is a child with our streams and
terminal: signals go to it, its exit code is ours, and a changed value restarts it or sends it a signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - msgspec reads the fields' types
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.app.build import cancelled_by_sigterm, registry
from injector.app.environment import read_variables, resolve_variables
from injector.app.ownership import only_writer
from injector.app.rendering import RenderRequest, render
from injector.app.sources import TemplateFile, read
from injector.errors import InjectorError, RunFailed
from injector.process import collection, foreground
from injector.process.orphans import reaping
from injector.telemetry.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from injector.backends.registry import Registry
    from injector.model.template import Source
    from injector.process.exits import ExitStatus
    from injector.process.foreground import ForegroundProcess
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log

_JITTER = 0.1
_ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP})


class OnChange(StrEnum):
    """What a change of a variable or file means for the command."""

    RESTART = "restart"
    SIGNAL = "signal"
    NONE = "none"


class ExecRequest(Struct, frozen=True):
    """
    The command *argv*, with the variables of *env_template* added to our environment and *files* rendered before.

    *on_change* says what a later change means; `signal` is sent for OnChange.SIGNAL. A command that is restarted has
    *grace* seconds from SIGTERM to its end.
    """

    argv: tuple[str, ...]
    env_template: Path | None = None
    files: RenderRequest | None = None
    on_change: OnChange = OnChange.NONE
    signal: signal.Signals = signal.SIGHUP
    grace: float = 10.0


def needs_supervision(request: ExecRequest, settings: Settings) -> bool:
    """Whether anything is left to do once the command runs."""
    return request.on_change is not OnChange.NONE or settings.refresh is not None


async def prepare(
    request: ExecRequest, settings: Settings, *, environment: Mapping[str, str], log: Log
) -> dict[str, str]:
    """
    Files written, and the whole environment for the command; every backend is closed again.

    Raises what `rendering.render` and `environment.resolve_variables` raise; asyncio.CancelledError after SIGTERM.
    """
    async with _backends(settings, environment, log) as backends:
        with cancelled_by_sigterm():
            resolved = await _Variables(request, settings, backends, environment, log).resolve()
            if request.files is not None:
                await render(request.files, settings, backends, environment=environment, log=log)
    return resolved


def program_of(request: ExecRequest, environment: Mapping[str, str]) -> str:
    """The file of the command. Raises CommandNotFound, CommandNotExecutable."""
    return foreground.find_program(request.argv[0], environment.get("PATH"))


def take_place(request: ExecRequest, environment: Mapping[str, str]) -> None:
    """Becomes the command. Returns only by CommandNotFound or CommandNotExecutable."""
    foreground.replace(request.argv, program=program_of(request, environment), env=environment)


async def supervise(request: ExecRequest, settings: Settings, *, environment: Mapping[str, str], log: Log) -> int:
    """
    Runs the command until it ends by itself; its exit code as a shell tells it.

    Raises what `prepare` raises, before the command was started; asyncio.CancelledError after SIGTERM until then.
    """
    log.redactor = _KeepingRedactor()
    async with _backends(settings, environment, log) as backends:
        variables = _Variables(request, settings, backends, environment, log)
        supervision = _Supervision(request, settings, log, variables)
        async with contextlib.AsyncExitStack() as stack:
            with cancelled_by_sigterm():
                await variables.resolve()
                if request.files is not None:
                    from injector.app.running import keep_files  # late: start-up

                    await stack.enter_async_context(only_writer(request.files.output_dir))
                    await stack.enter_async_context(
                        keep_files(
                            request.files,
                            settings,
                            backends,
                            environment=environment,
                            log=log,
                            on_change=supervision.changed.set,
                        )
                    )
            collection.settle()
            return await supervision.run()


@contextlib.asynccontextmanager
async def _backends(settings: Settings, environment: Mapping[str, str], log: Log) -> AsyncIterator[Registry]:
    backends = registry(settings, environment, log, lasting=settings.refresh is not None)
    try:
        yield backends
    finally:
        await backends.close()
        log.redactor.clear()


class _KeepingRedactor(Redactor):
    """One of the variables' values, which `retain` for the values of files must not forget."""

    def retain(self, values: Iterable[bytes]) -> None:
        """Forgets nothing: what the command has had may be in its environment for as long as it runs."""


class _Variables:
    """The command's environment, and whether it is still what the template says."""

    def __init__(
        self,
        request: ExecRequest,
        settings: Settings,
        backends: Registry,
        environment: Mapping[str, str],
        log: Log,
    ) -> None:
        self._template = request.env_template
        self._settings = settings
        self._backends = backends
        self._environment = environment
        self._log = log
        self._source: Source | None = None
        self._failure = _Failure(log)
        self.current: dict[str, str] = dict(environment)

    async def resolve(self) -> dict[str, str]:
        """Reads and resolves the template anew. Raises InjectorError; `current` stays as it was then."""
        if self._template is None:
            return self.current
        source = self._read()
        resolved = await resolve_variables(
            read_variables(source), self._settings, self._backends, environment=self._environment, log=self._log
        )
        for error in resolved.forgiven:
            self._log.warning("missing value", error=_told(error))
        # fsdecode is undone by the kernel's own encoding: the bytes arrive as they are, whatever the locale.
        values = {name: os.fsdecode(value.reveal()) for name, value in resolved.values.items()}
        self._source = source
        self.current = {**self._environment, **values}
        return self.current

    async def follow(self, changed: asyncio.Event) -> None:
        """Looks again and again, and sets *changed* when the environment is another one. Ends by cancellation only."""
        if self._template is None:
            return
        refresh, rescan = self._settings.refresh, self._settings.rescan
        due = _in(refresh)
        while True:
            await asyncio.sleep(max(0.0, min(rescan, due - time.monotonic())))
            before = self.current
            try:
                if time.monotonic() < due and self._read() == self._source:
                    continue
                await self.resolve()
            except InjectorError as error:
                self._failure.met(error)
            else:
                self._failure.gone()
                if self.current != before:
                    changed.set()
            due = _in(refresh)

    def _read(self) -> Source:
        assert self._template is not None
        name = str(self._template)
        return read(TemplateFile(name=name, input=name, output="", path=name))


class _Supervision:
    """One command, started again as its environment or files change."""

    def __init__(self, request: ExecRequest, settings: Settings, log: Log, variables: _Variables) -> None:
        self._request = request
        self._settings = settings
        self._log = log
        self._variables = variables
        self._child: ForegroundProcess | None = None
        self._is_restarting = False
        self._is_ending = False
        self.changed = asyncio.Event()

    async def run(self) -> int:
        with self._signals(), reaping(self._on_child):
            following = asyncio.create_task(self._variables.follow(self.changed))
            following.add_done_callback(self._follow_ended)
            try:
                self._start()
                status = await self._until_end()
                return 1 if status is None else status.shell_code
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                if self._child is not None:
                    await self._child.stop(0)

    async def _until_end(self) -> ExitStatus | None:
        while True:
            assert self._child is not None
            exited = asyncio.ensure_future(self._child.wait())
            changed = asyncio.ensure_future(self.changed.wait())
            try:
                await asyncio.wait((exited, changed), return_when=asyncio.FIRST_COMPLETED)
            finally:
                exited.cancel()
                changed.cancel()
            if self._child.exit_status is not None:
                return self._child.exit_status
            await asyncio.sleep(self._settings.debounce_min)
            self.changed.clear()
            if self._request.on_change is OnChange.SIGNAL:
                self._log.info("changed, sending a signal", signal=self._request.signal.name, pid=self._child.pid)
                self._child.send(self._request.signal)
            elif self._request.on_change is OnChange.RESTART and self._child.exit_status is None:
                status = await self._stop_for_restart()
                if self._is_ending or status is None:
                    return status
                self._start()

    async def _stop_for_restart(self) -> ExitStatus | None:
        assert self._child is not None
        self._log.info("changed, restarting the command", pid=self._child.pid, grace=self._request.grace)
        self._is_restarting = True
        try:
            return await self._child.stop(self._request.grace)
        finally:
            self._is_restarting = False

    def _start(self) -> None:
        environment = self._variables.current
        self._child = foreground.start(
            self._request.argv, program=program_of(self._request, environment), env=environment
        )
        self._log.info("command started", pid=self._child.pid)

    def _follow_ended(self, following: asyncio.Task[None]) -> None:
        error = None if following.cancelled() else following.exception()
        if error is not None:
            self._log.error("variables are not refreshed any more", kind=type(error).__qualname__)

    def _on_child(self) -> None:
        if self._child is not None:
            self._child.unfreeze()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        in_job = foreground.is_in_job()
        # In a shell's job, stopping and continuing is between the shell and the whole of the job.
        left_alone = {signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH} if in_job else set()
        taken = [number for number in foreground.FORWARDED if number not in left_alone]
        for number in taken:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in taken:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._is_restarting and number in _ENDING:
            self._is_ending = True
        if self._child is not None:
            self._child.pass_on(number)


class _Failure:
    """Says once that something fails, not each time, and how often it did when it is over."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._told = ""
        self._times = 0

    def met(self, error: InjectorError) -> None:
        told = _told(error)
        self._times += 1
        if told != self._told:
            self._log.error("refresh failed, the command keeps what it has", error=told, code=_first(error).code)
        self._told = told

    def gone(self) -> None:
        if self._times:
            self._log.info("refresh works again", failures=self._times)
        self._told, self._times = "", 0


def _first(error: InjectorError) -> InjectorError:
    return error.errors[0] if isinstance(error, RunFailed) else error


def _told(error: InjectorError) -> str:
    first = _first(error)
    return f"{first.place}: {first.message}" if first.place else first.message


def _in(interval: float | None) -> float:
    """The moment to refresh at; spread, so that replicas do not ask together."""
    if interval is None:
        return float("inf")
    return time.monotonic() + interval * random.uniform(1 - _JITTER, 1)  # noqa: S311  # jitter, no cryptography


def command_signal(name: str) -> signal.Signals:
    """SIGHUP for `HUP`, `SIGHUP` or `1`. Raises ValueError."""
    if name.isdigit():
        return signal.Signals(int(name))
    upper = name.upper()
    try:
        return signal.Signals[upper if upper.startswith("SIG") else f"SIG{upper}"]
    except KeyError:
        raise ValueError from None


def parse_on_change(text: str) -> tuple[OnChange, signal.Signals]:
    """`restart`, `signal:HUP` or `none`. Raises ValueError."""
    kind, _, name = text.partition(":")
    if kind == OnChange.SIGNAL:
        return OnChange.SIGNAL, command_signal(name or "HUP")
    if name:
        raise ValueError
    return OnChange(kind), signal.SIGHUP
