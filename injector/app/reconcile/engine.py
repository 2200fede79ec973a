"""
The sidecar as a whole: one loop that looks at what is there and does what is missing.

Everything that happens (a timer, an answer, a change of a file, a wish) only says that it is time for a pass. A pass
never waits: what takes time is a task or a worker's piece, whose end is the reason for another pass.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import random
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from injector.app.reconcile import memory, reloading
from injector.app.reconcile.clock import Clock
from injector.app.reconcile.fetching import Fetcher
from injector.app.reconcile.outputs import Outputs
from injector.app.reconcile.pushes import Pushes
from injector.app.reconcile.reporting import report
from injector.app.reconcile.request import RefreshSummary
from injector.app.reconcile.schedule import Schedule
from injector.app.reconcile.templates import TemplateReader
from injector.app.reconcile.timers import Timers
from injector.app.reconcile.values import ValueCache, account_of
from injector.app.reconcile.wishes import Wish, Wishes
from injector.app.reconcile.worker import Worker
from injector.app.sources import STDIN
from injector.errors import InjectorError, InputError, RunFailed
from injector.output.staging import is_temporary
from injector.watch.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from injector.app.reconcile.fetching import Flight
    from injector.app.reconcile.request import SidecarRequest, Sink
    from injector.app.reconcile.templates import Look
    from injector.app.reconcile.values import Entry
    from injector.app.status import SidecarStatus
    from injector.backends.contract import Outcome
    from injector.backends.registry import Registry
    from injector.model.references import Reference
    from injector.plan.planner import Account
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log
    from injector.telemetry.meter import Meter
    from injector.telemetry.vitals import Vitals
    from injector.watch.watcher import Change

ENGINE, READER, PUBLISHER = "engine", "templates", "publisher"
MISSED_BEATS = 3
CLOSE_WITHIN = 0.4  # seconds, each: the whole end takes less than one
LOOK_AGAIN = 1.0  # seconds after which a template that is not there is taken for deleted
"""A name that is missing while a directory is swapped is back within this time."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until templates or settings that could not be looked at are looked at again."""


class Sidecar:
    """
    Keeps the outputs of a request what they should be, until it is cancelled.

    Args:
        request: which templates, and where their results go.
        settings: those to begin with.
        registry: opens the backends; whoever made it closes it, after `run` has ended.
        environment: for `envsubst`.
        log, meter, vitals: told of what happens; `vitals` has "engine" and each worker while it has work.
        sink: where results go.
        on_published: called with (template, output, sha256 of the content in hex) in the event loop, for each output
            whose content has changed.
        settings_path, load_settings: the settings file, which is watched, and what loads all settings anew; it runs in
            a thread and raises InjectorError when they cannot be used. None: the settings stay as they are.
        watch: whether templates and settings file are watched; without, `look` and the rescan say when to look.
        clock: time; another one in tests.

    `started` is set once every required file was rendered, `first_pass` is done when every value was asked for once
    and every file that could be rendered was published, whether or not there were errors.
    """

    def __init__(
        self,
        request: SidecarRequest,
        settings: Settings,
        registry: Registry,
        *,
        environment: Mapping[str, str],
        log: Log,
        meter: Meter,
        vitals: Vitals,
        sink: Sink,
        on_published: Callable[[str, str, str], None] | None = None,
        settings_path: Path | None = None,
        load_settings: Callable[[], Settings] | None = None,
        watch: bool = True,
        clock: Clock | None = None,
        seed: random.Random | None = None,
    ) -> None:
        self.started = asyncio.Event()
        self._request = request
        self._settings = settings
        self._registry = registry
        self._log, self._meter, self._vitals = log, meter, vitals
        self._settings_path, self._load_settings = settings_path, load_settings
        self._settings_error: InjectorError | None = None
        self._watches_files = watch
        self._clock = clock or Clock()
        self._random = seed or random.Random()  # noqa: S311  # jitter, no cryptography
        self._schedule = Schedule(settings.refresh)
        self._timers = Timers()
        self._cache = ValueCache(draw=self._random)
        self._fetcher = Fetcher(
            registry,
            clock=self._clock,
            log=log,
            meter=meter,
            vitals=vitals,
            answered=self._answered,
            ended=self._fetch_ended,
        )
        self._pushes = Pushes(registry, self._cache, log=log, pushed=self._pushed)
        self._reader = Worker(READER, vitals, within=settings.timeout)
        self._publisher = Worker(PUBLISHER, vitals, within=settings.timeout)
        self._templates = TemplateReader(
            request.inputs,
            request.output_dir,
            registry,
            environment,
            log.warning,
            single=request.output is not None,
        )
        self._outputs = Outputs(
            request,
            self._cache,
            is_asked=lambda reference: self._fetcher.is_asked(reference, account_of(reference)),
            publisher=self._publisher,
            sink=sink,
            clock=self._clock,
            timers=self._timers,
            log=log,
            meter=meter,
            draw=self._random,
            wake=self._wake_up,
            on_published=on_published or (lambda *_: None),
        )
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._wants_look = True
        self._looked_at = float("-inf")  # when the last complete look began
        self._looking = False
        self._look_failures = 0
        self._look_error: InjectorError | None = None
        self._unsettled_since: float | None = None
        self._wants_settings = False
        self._loading = False
        self._must_redact = False
        self._redacted: list[bytes] = []
        self._freed_bytes = 0
        self._fault: BaseException | None = None
        self._lock = threading.Lock()
        self._asked: list[Callable[[], None]] = []  # by other threads, and before `run`
        self._wishes = Wishes(self._clock)
        self.first_pass = self._wishes.add().future

    # ---------------------------------------------------------------------------------------------- from any thread

    def refresh(self, reason: str) -> concurrent.futures.Future[RefreshSummary]:
        """
        Asks for every value again, and looks at every template and output again. From any thread, also before `run`.

        The future is done when all of it is complete; it is cancelled when the sidecar ends before. *reason* is
        `refresh`, `signal` or another word for `Meter.watched`.
        """
        future: concurrent.futures.Future[RefreshSummary] = concurrent.futures.Future()

        def begin() -> None:
            self._meter.watched(reason)
            now = self._clock.now()
            self._wishes.add(future)
            self._wants_look = True
            self._cache.expire((entry.reference for entry in self._cache.entries()), now)
            self._outputs.check_all()

        self._ask(begin)
        return future

    async def refreshed(self, reason: str) -> RefreshSummary:
        """`refresh`, waited for."""
        return await asyncio.wrap_future(self.refresh(reason))

    def look(self, *, settled: bool = True) -> None:
        """Templates may have changed; unless *settled*, they are looked at when they are quiet. From any thread."""
        self._ask(self._look_now if settled else self._look_when_quiet)

    def reload(self) -> None:
        """The settings file may have changed. From any thread."""

        def begin() -> None:
            self._wants_settings = self._load_settings is not None

        self._ask(begin)

    def status(self) -> SidecarStatus:
        """How everything is now. From any thread."""
        return report(
            self._outputs.files(),
            self._cache,
            self._clock,
            started=self.started.is_set(),
            plugins=self._registry.plugins(),
            settings_error=self._settings_error.message if self._settings_error else None,
        )

    def errors(self) -> tuple[InjectorError, ...]:
        """What is wrong now, each with its place where it has one: for RunFailed, and so an exit code."""
        found = [error for file in self._outputs.files() for error in file.condition.errors]
        general = [self._look_error] if self._look_error is not None else []
        return tuple({id(error): error for error in [*general, *found]}.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way: all waits for a timer, or for a reason to look."""
        return (
            self._has_looked
            and not (self._wake.is_set() or self._looking or self._loading or self._wants_look or self._wants_settings)
            and not (self._fetcher.flights() or self._outputs.are_busy())
        )

    @property
    def next_wake(self) -> float | None:
        """When there is something to do without any other reason, by the clock; None for never."""
        return self._timers.next()

    # ----------------------------------------------------------------------------------------------------- the loop

    async def run(self) -> None:
        """
        Works until it is cancelled, and then ends within a second: a write under way is finished, or left to the
        process's end, which abandons it whole.
        """
        with self._lock:
            self._loop = asyncio.get_running_loop()
            asked, self._asked = self._asked, []
        for function in asked:
            function()
        self._expect()
        try:
            if self._watches_files:
                self._begin(self._watch())
            while True:
                self._wake.clear()
                if self._fault is not None:
                    raise self._fault
                self._pass()
                self._vitals.completed(ENGINE)
                await self._clock.wait(self._wake, self._timers.next())
        finally:
            await self._close()

    async def _close(self) -> None:
        with self._lock:
            self._loop = None
        for task in self._tasks:
            task.cancel()
        self._wishes.cancel()
        await asyncio.gather(
            self._publisher.close(grace=CLOSE_WITHIN),
            self._reader.close(grace=CLOSE_WITHIN),
            self._fetcher.close(grace=CLOSE_WITHIN),
            self._pushes.close(grace=CLOSE_WITHIN),
            self._outputs.close(grace=CLOSE_WITHIN),
            *([asyncio.wait(self._tasks, timeout=CLOSE_WITHIN)] if self._tasks else []),
        )
        self._vitals.forget(ENGINE)

    def _pass(self) -> None:
        now = self._clock.now()
        for name in self._timers.due(now):
            self._timer(name)
        if self._wants_settings and not self._loading:
            self._begin(self._reload())
        if self._wants_look and not self._looking:
            self._begin(self._look())
        for account in self._cache.accounts():
            self._fetch(account, now)
        self._outputs.advance()
        if not self.started.is_set() and self._has_looked and self._outputs.are_started():
            self.started.set()
        self._redact()
        self._trim()
        self._fulfil()
        self._timers.sooner("beat", now + self._settings.rescan)

    @property
    def _has_looked(self) -> bool:
        return self._looked_at > float("-inf")

    def _timer(self, name: object) -> None:
        match name:
            case "beat":
                self._meter.watched("rescan")
                self._wants_look = True
                self._must_redact = True  # forgets the values of the generation before
                self._timers.set("beat", self._clock.now() + self._settings.rescan)
            case "look":
                self._unsettled_since = None
                self._wants_look = True
            case "settings":
                self._wants_settings = True
            case ("values", _):
                self._meter.watched("timer")  # the pass asks whoever is due
            case ("file", str(template)):
                self._outputs.check(template)
            case _:
                raise AssertionError(name)

    def _fetch(self, account: Account, now: float) -> None:
        if self._fetcher.is_busy(account):
            return
        due = self._cache.due(account, now, self._schedule)
        if due:
            for reference in due:
                entry = self._cache.get(reference)
                self._meter.cached("miss" if entry is None or entry.value is None else "expired")
            self._fetcher.start(account, due, self._cache.draw(), self._settings)
        else:
            self._timers.set(("values", account), self._cache.next_due(account))

    def _answered(self, flight: Flight, reference: Reference, outcome: Outcome) -> None:
        before = self._cache.get(reference)
        self._freed_bytes += _size(before)
        self._cache.answered(reference, outcome, began=flight.began, draw=flight.draw, schedule=self._schedule)
        self._must_redact = True
        self._outputs.check_users(reference)
        self._wake_up()

    def _fetch_ended(self, account: Account, flight: Flight) -> None:
        since = self._wishes.latest
        if since is not None and flight.began < since:
            self._cache.expire(flight.asked, self._clock.now())
        self._pushes.follow(account)
        self._wake_up()

    def _pushed(self, references: tuple[Reference, ...]) -> None:
        self._meter.watched("push")
        self._cache.expire(references, self._clock.now())
        self._wake_up()

    # ---------------------------------------------------------------------------------------------------- templates

    def _look_now(self) -> None:
        self._unsettled_since = None
        self._timers.cancel("look")
        self._wants_look = True

    def _look_when_quiet(self) -> None:
        now = self._clock.now()
        if self._unsettled_since is None:
            self._unsettled_since = now
        latest = self._unsettled_since + self._settings.debounce_max
        self._timers.set("look", max(now, min(now + self._settings.debounce_min, latest)))

    async def _look(self) -> None:
        self._looking, self._wants_look = True, False
        began, settings = self._clock.now(), self._settings
        try:
            look = await self._reader.call(lambda: self._templates.look(settings))
        except InjectorError as error:
            self._look_failed(error)
        except Exception as error:  # noqa: BLE001  # whatever is in a file must not end the sidecar
            fault = f"the templates could not be looked at: {type(error).__name__}"
            self._look_failed(InputError(fault, hint="this is a fault of injector"))
        else:
            self._looked(look, began)
        finally:
            self._looking = False
            self._wake_up()

    def _look_failed(self, error: InjectorError) -> None:
        self._look_error = error
        self._look_failures += 1
        self._log.warning("templates could not be looked at", reason=error.message)
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._look_failures, 10))
        self._timers.sooner("look", self._clock.now() + pause)

    def _looked(self, look: Look, began: float) -> None:
        self._look_error, self._look_failures = None, 0
        self._looked_at = began
        if self._outputs.take(look, prune=self._settings.prune, grace=LOOK_AGAIN):
            self._timers.sooner("look", self._clock.now() + LOOK_AGAIN)
        self._use(self._outputs.references())

    def _use(self, wanted: Iterable[Reference]) -> None:
        now = self._clock.now()
        wanted = set(wanted)
        leases: dict[Account, list[str]] = {}
        touched = {account_of(reference) for reference in self._cache.use(sorted(wanted, key=str), now)}
        for entry in self._cache.entries():
            if entry.reference in wanted:
                continue
            dropped = self._cache.drop(entry.reference)
            self._freed_bytes += _size(dropped)
            account = account_of(entry.reference)
            touched.add(account)
            self._must_redact = True
            if dropped is not None and dropped.value is not None and dropped.value.lease is not None:
                leases.setdefault(account, []).append(dropped.value.lease.id)
        for account in touched:
            if not self._fetcher.is_busy(account):
                self._pushes.follow(account)
            if not self._cache.references(account):
                self._timers.cancel(("values", account))
        for account, ids in leases.items():
            self._begin(self._release(account, ids))

    async def _release(self, account: Account, leases: list[str]) -> None:
        from injector.backends.contract import Releasing  # late: few values have a lease

        with contextlib.suppress(InjectorError):  # a backend that is down has no leases to give back
            backend = await self._registry.open(account.prefix, account.connection)
            if isinstance(backend, Releasing):
                await backend.release(leases, connection=account.connection)

    async def _watch(self) -> None:
        """Tells of changed files, for as long as the sidecar runs."""
        inputs = [Path(given) for given in self._request.inputs if given != STDIN]
        skip = [self._request.output_dir] if self._request.output_dir is not None else []
        common: dict[str, Any] = {"log": self._log, "meter": self._meter, "vitals": self._vitals}
        watchers = [
            Watcher(inputs, self._changed, rescan=self._settings.rescan, ignore=is_temporary, skip=skip, **common).run()
        ]
        if self._settings_path is not None and self._load_settings is not None:
            path, rescan = [self._settings_path], self._settings.rescan
            watchers.append(Watcher(path, self._settings_changed, rescan=rescan, name="watch settings", **common).run())
        async with asyncio.TaskGroup() as group:
            for watcher in watchers:
                group.create_task(watcher)

    def _changed(self, change: Change) -> None:
        if change.settled:
            self._look_now()
        else:
            self._look_when_quiet()
        self._wake_up()

    def _settings_changed(self, change: Change) -> None:
        self._timers.set("settings", self._clock.now() + (0.0 if change.settled else self._settings.debounce_min))
        self._wake_up()

    # ----------------------------------------------------------------------------------------------------- settings

    async def _reload(self) -> None:
        load = self._load_settings
        assert load is not None
        self._loading, self._wants_settings = True, False
        try:
            loaded = await self._reader.call(load)
        except InjectorError as error:
            self._refuse_settings(error)
        else:
            self._take_settings(loaded)
        finally:
            self._loading = False
            self._wake_up()

    def _refuse_settings(self, error: InjectorError) -> None:
        first = error.errors[0] if isinstance(error, RunFailed) else error
        if self._settings_error is None or self._settings_error.message != first.message:
            place = str(first.place) if first.place else str(self._settings_path or "")
            self._log.error("settings refused, the running ones stay", place=place, reason=first.message)
        self._settings_error = first
        self._meter.reloaded("failed")

    def _take_settings(self, loaded: Settings) -> None:
        self._settings_error = None
        self._meter.reloaded("ok")
        settings, kept = reloading.merged(self._settings, loaded)
        if kept:
            self._log.warning("settings that wait for the next start", settings=", ".join(kept))
        if settings == self._settings:
            return
        refresh_changed = settings.refresh != self._settings.refresh
        self._settings = settings
        self._schedule = Schedule(settings.refresh)
        self._reader.within = self._publisher.within = settings.timeout
        self._expect()
        if refresh_changed:
            self._cache.reschedule(self._schedule)
        self._wants_look = True
        self._log.info("settings reloaded")

    # ------------------------------------------------------------------------------------------------------- others

    def _expect(self) -> None:
        self._vitals.expect(ENGINE, within=MISSED_BEATS * self._settings.rescan)

    def _redact(self) -> None:
        if self._must_redact and not self._fetcher.flights():
            self._must_redact = False
            # Those of the generation before are masked for one more: a line about them may be under way.
            live = [entry.value.data.reveal() for entry in self._cache.entries() if entry.value is not None]
            self._log.redactor.retain(itertools.chain(live, self._redacted))
            self._redacted = live

    def _trim(self) -> None:
        freed = self._freed_bytes + self._outputs.handled_bytes
        if freed >= memory.WORTH and not self._fetcher.flights() and not self._outputs.are_busy():
            self._freed_bytes = self._outputs.handled_bytes = 0
            self._begin(self._publisher.call(memory.trim))

    def _fulfil(self) -> None:
        if not self._wishes or self._looking or self._wants_look or self._fetcher.flights() or self._outputs.are_busy():
            return
        entries = self._cache.entries()
        oldest = min((float("-inf") if e.asked_at is None else e.asked_at for e in entries), default=float("inf"))
        for wish in self._wishes.fulfilled(min(oldest, self._looked_at)):
            wish.future.set_result(self._summary(wish))

    def _summary(self, wish: Wish) -> RefreshSummary:
        files = self._outputs.files()
        return RefreshSummary(
            files=len(files),
            changed=self._outputs.changes_since(wish.began),
            failed=sum(1 for file in files if file.condition.errors),
            references=len(self._cache),
            seconds=max(0.0, self._clock.now() - wish.began),
            errors=self.errors(),
        )

    def _wake_up(self) -> None:
        self._wake.set()

    def _ask(self, function: Callable[[], None]) -> None:
        def begin() -> None:
            function()
            self._wake_up()

        with self._lock:
            if self._loop is None:
                self._asked.append(begin)
            else:
                self._loop.call_soon_threadsafe(begin)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fault = error  # nothing goes on half: `run` raises it
        self._wake_up()


def _size(entry: Entry | None) -> int:
    return len(entry.value.data) if entry is not None and entry.value is not None else 0
