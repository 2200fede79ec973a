"""
`injector run`: the sidecar's parts put together, from the first signal handler to the last plugin's end.

The engine (`reconcile`) decides and renders; the servers tell; the notifier tells the application; what is here starts
them, passes signals and changes between them, and ends them in order and in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins
from msgspec.structs import replace

from injector.app.build import registry
from injector.app.news import News
from injector.app.ownership import only_writer
from injector.app.reconcile.checks import Checks
from injector.app.reconcile.engine import Sidecar
from injector.app.reconcile.request import SidecarRequest
from injector.app.reconcile.sinks import FileSink
from injector.errors import RunFailed
from injector.notify.threads import in_thread
from injector.process import collection
from injector.process.orphans import reaping
from injector.process.termination import was_noted
from injector.telemetry.meter import Meter
from injector.telemetry.traces import NO_TRACES, make_tracer
from injector.telemetry.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

    from injector.app.handover import HandedValue
    from injector.app.rendering import RenderRequest
    from injector.app.status import SidecarStatus
    from injector.backends.registry import Registry
    from injector.model.references import Reference
    from injector.notify.notifier import Notifier
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log
    from injector.telemetry.traces import Tracer

_IN_TIME = 4.5  # seconds from the signal to the end, whatever hangs; 5 are promised
_LAST_NOTIFICATION = 1.0
_LAST_SPANS = 0.5
_STOPPED_BY_FORCE = 128 + signal.SIGTERM


async def run_sidecar(
    request: SidecarRequest,
    settings: Settings,
    *,
    environment: Mapping[str, str],
    log: Log,
    settings_path: Path | None = None,
    load_settings: Callable[[], Settings] | None = None,
) -> None:
    """
    Keeps the files of *request* rendered until SIGTERM, SIGINT or a wish on the control socket, and ends cleanly.

    SIGHUP asks for all values and the settings anew, SIGUSR1 means nothing. *settings_path* and *load_settings* are the
    engine's. Raises ListenFailed, and UsageError for a request that cannot be met.
    """
    stop = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        on_hangup = stack.enter_context(_signals(stop))
        stack.enter_context(reaping())
        await stack.enter_async_context(only_writer(request.output_dir))
        started = time.monotonic()
        handed = _handed(request, settings, environment, log)
        backends = registry(settings, environment, log, lasting=True)
        tracer = make_tracer(environment, log)
        try:
            running = _Running(
                request, settings, backends, environment, log, settings_path, load_settings, tracer, handed
            )
            await running.until(stop, on_hangup)
        finally:
            await backends.close()
            await _closed(tracer)
            log.redactor.clear()
        log.info("stopped", uptime=round(time.monotonic() - started, 1))


class _Running:
    """The parts of one sidecar that live as long as it."""

    def __init__(
        self,
        request: SidecarRequest,
        settings: Settings,
        backends: Registry,
        environment: Mapping[str, str],
        log: Log,
        settings_path: Path | None,
        load_settings: Callable[[], Settings] | None,
        tracer: Tracer,
        handed: Mapping[Reference, HandedValue],
    ) -> None:
        self._settings = settings
        self._backends = backends
        self._log = log
        self._vitals = Vitals()
        self._meter = _meter(settings)
        self._notifier = self._make_notifier(environment, tracer)
        self._request = request
        self._environment = environment
        loop = asyncio.get_running_loop()
        news = News(FileSink(), self._notifier, loop, self._is_started)
        self._sidecar = Sidecar(
            request,
            settings,
            backends,
            environment=environment,
            log=log,
            meter=self._meter,
            vitals=self._vitals,
            sink=news,
            checks=Checks(environment, log.redactor),
            on_published=news.published,
            on_removed=news.removed,
            settings_path=settings_path,
            load_settings=load_settings,
            on_settings=self._take,
            handed=handed,
            tracer=tracer,
        )

    async def until(self, stop: asyncio.Event, on_hangup: list[Callable[[], object]]) -> None:
        """Serves and works until *stop* is set; raises what ends the engine before."""
        with self._servers(stop.set):
            on_hangup += [self._sidecar.reload, lambda: self._sidecar.refresh("signal")]
            notifying = asyncio.create_task(self._notifier.run(), name="notifier")
            working = asyncio.create_task(self._sidecar.run(), name="sidecar")
            telling = asyncio.create_task(self._tell_start(), name="started")
            events = asyncio.create_task(self._tell_events(), name="events")
            stopping = asyncio.create_task(stop.wait(), name="stop")
            try:
                await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not stopping.done():
                    await working  # raises; an engine does not end by itself
            finally:
                await self._end(working, telling, events, stopping)
                await self._notifier.drain(_LAST_NOTIFICATION)
                await _cancelled(notifying)

    async def _end(self, *tasks: asyncio.Task[Any]) -> None:
        self._log.info("stopping")
        for task in tasks:
            await _cancelled(task)

    async def _tell_start(self) -> None:
        summary = await asyncio.wrap_future(self._sidecar.first_pass)
        collection.settle()
        status = self.status()
        self._log.info(
            "started",
            files=summary.files,
            failed=summary.failed,
            values=summary.references,
            seconds=round(summary.seconds, 3),
            ready=status.is_ready,
            next_refresh=_seconds_until(status.next_refresh),
        )

    async def _tell_events(self) -> None:
        """Subpath mounts to the log; and, when the settings want them, Events until cancelled."""
        from injector.app.subpaths import subpath_mounts  # late: start-up

        stuck = subpath_mounts(self._request.inputs)
        hint = "mount the volume's directory, without subPath"
        for path in stuck:
            self._log.warning("a subPath mount is never updated by the kubelet", path=str(path), hint=hint)
        if not self._settings.events:
            return
        from injector.app.pod_events import PodEvents
        from injector.errors import ClusterError
        from injector.kube.api import ClusterApi
        from injector.kube.events import EventWriter, News
        from injector.kube.identity import own_pod

        try:
            writer = EventWriter(ClusterApi.of_pod(self._environment), own_pod(self._environment))
        except ClusterError as error:
            self._log.warning("Events cannot be written", reason=error.message, hint=error.hint)
            return
        first = [News("Warning", "SubPathMount", f"{path} is never updated: {hint}") for path in stuck]
        await PodEvents(writer, status=self.status, log=self._log, first=first).run()

    def status(self) -> SidecarStatus:
        return replace(self._sidecar.status(), notifications=self._notifier.status(), plugins=self._backends.plugins())

    def _is_started(self) -> bool:
        return self._sidecar.started.is_set() and self._sidecar.first_pass.done()

    def _take(self, settings: Settings) -> None:
        """New settings hold: the engine has taken its part, and this is the notifier's."""
        from injector.notify.worker import Timing  # late: start-up

        timing = Timing(settings.debounce_min, settings.debounce_max, settings.splay or 0.0)
        self._notifier.replace(settings.notify, timing)

    def _make_notifier(self, environment: Mapping[str, str], tracer: Tracer) -> Notifier:
        from injector.notify.notifier import Notifier  # late: start-up

        settings = self._settings
        return Notifier(
            settings.notify,
            debounce_min=settings.debounce_min,
            debounce_max=settings.debounce_max,
            splay=settings.splay,
            environment=environment,
            log=self._log,
            meter=self._meter,
            vitals=self._vitals,
            tracer=tracer,
            pass_environment=settings.plugins.pass_environment,
        )

    @contextlib.contextmanager
    def _servers(self, quit_: Callable[[], None]) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if self._settings.listen:
                from injector.app.serving.health import StatusServer  # late: start-up
                from injector.telemetry.metrics import PrometheusMeter

                assert isinstance(self._meter, PrometheusMeter)
                server = StatusServer(
                    self._settings.listen,
                    status=self.status,
                    vitals=self._vitals,
                    meter=self._meter,
                    clean=self._log.redactor.clean,
                )
                stack.callback(server.close)
                self._log.info("serving health, metrics and status", address=server.start())
            if self._settings.control is not None:
                from injector.app.serving.control import ControlServer  # late: start-up

                control = ControlServer(
                    self._settings.control,
                    status=self.status,
                    refresh=self._refresh,
                    quit=quit_,
                    clean=self._log.redactor.clean,
                )
                stack.callback(control.close)
                self._log.info("taking requests", control=control.start())
            yield

    async def _refresh(self) -> Mapping[str, Any]:
        summary = await self._sidecar.refreshed("refresh")
        told: dict[str, Any] = to_builtins(replace(summary, errors=()))
        told["errors"] = [self._log.redactor.clean(error.message) for error in summary.errors]
        return told


def _handed(
    request: SidecarRequest, settings: Settings, environment: Mapping[str, str], log: Log
) -> Mapping[Reference, HandedValue]:
    """What an init container has left, taken; empty when there is none, or the settings want none."""
    if settings.handover is None:
        return {}
    from injector.app import handover  # late: pods with native sidecars have none

    directory = handover.directory_of(settings.handover, request.output_dir)
    return handover.taken(directory, handover.scope(settings, request, environment), log)


@contextlib.asynccontextmanager
async def keep_files(
    files: RenderRequest,
    settings: Settings,
    backends: Registry,
    *,
    environment: Mapping[str, str],
    log: Log,
    on_change: Callable[[], None],
) -> AsyncIterator[None]:
    """
    Writes *files* and, inside the context, keeps them what they should be; *on_change* is called when one changes.

    Raises RunFailed, before the context is entered, when one of them cannot be rendered or written.
    """
    entered = False

    def published(*_: str) -> None:
        if entered:
            on_change()

    sidecar = Sidecar(
        SidecarRequest(files.inputs, output_dir=files.output_dir, output=files.output),
        settings,
        backends,
        environment=environment,
        log=log,
        meter=Meter(),
        vitals=Vitals(),
        sink=FileSink(),
        checks=Checks(environment, log.redactor),
        on_published=published,
    )
    working = asyncio.create_task(sidecar.run(), name="files")
    try:
        first = asyncio.wrap_future(sidecar.first_pass)
        await asyncio.wait((working, first), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
        if first.result().errors:
            raise RunFailed(first.result().errors)
        entered = True
        yield
    finally:
        await _cancelled(working)


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[list[Callable[[], object]]]:
    """Handlers for the time of the context; the list it gives takes what SIGHUP is to call."""
    loop = asyncio.get_running_loop()
    on_hangup: list[Callable[[], object]] = []

    def end() -> None:
        if not stop.is_set():
            threading.Thread(target=_end_in_time, name="watchdog", daemon=True).start()
        stop.set()

    def hang_up() -> None:
        for call in on_hangup:
            call()

    handlers: dict[signal.Signals, Callable[[], object]] = {
        signal.SIGTERM: end,
        signal.SIGINT: end,
        signal.SIGHUP: hang_up,
        signal.SIGUSR1: lambda: None,
    }
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    if was_noted():
        end()
    try:
        yield on_hangup
    finally:
        for number in handlers:
            if number in (signal.SIGTERM, signal.SIGINT):
                continue  # a second one must not end us in another way; the loop's end gives the defaults back
            loop.remove_signal_handler(number)


def _end_in_time() -> None:
    """Ends the process when the orderly way hangs: a file system or a plugin that does not answer."""
    time.sleep(_IN_TIME)
    os._exit(_STOPPED_BY_FORCE)


async def _closed(tracer: Tracer) -> None:
    """Sends the last spans, if there are any; a collector that is away holds up the end for a moment only."""
    if tracer is NO_TRACES:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_SPANS):
            await in_thread(tracer.close)


async def _cancelled(task: asyncio.Task[Any]) -> None:
    """Ends *task*, and waits for its end. What it raised is for whoever awaits it."""
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()  # seen: asyncio need not tell of it


def _meter(settings: Settings) -> Meter:
    if not settings.listen:
        return Meter()
    from injector.telemetry.metrics import PrometheusMeter  # late: start-up

    return PrometheusMeter()


def _seconds_until(moment: float | None) -> float | None:
    return None if moment is None else max(0.0, round(moment - time.time(), 1))
