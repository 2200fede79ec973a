"""
The sidecar as a whole: one loop that looks at what is there and does what is missing.

Everything that happens (a timer, an answer, a change of a file, a wish) only says that it is time for a pass. A pass
never waits: what takes time is a task or a worker's piece, whose end is the reason for another pass.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
from typing import TYPE_CHECKING

from injector.app.reconcile import leases, looking, memory, watching
from injector.app.reconcile.asking import Asking
from injector.app.reconcile.clock import Clock
from injector.app.reconcile.fetching import Fetcher
from injector.app.reconcile.handed import Handed
from injector.app.reconcile.looking import Looking
from injector.app.reconcile.memory import Memory
from injector.app.reconcile.outputs import Outputs
from injector.app.reconcile.pushes import Pushes
from injector.app.reconcile.reloading import Reloading
from injector.app.reconcile.reporting import report, summary
from injector.app.reconcile.schedule import Schedule
from injector.app.reconcile.spans import PassSpan
from injector.app.reconcile.tasks import Tasks
from injector.app.reconcile.templates import TemplateReader
from injector.app.reconcile.timers import Timers
from injector.app.reconcile.values import ValueCache, account_of
from injector.app.reconcile.wishes import Wishes
from injector.app.reconcile.worker import Worker
from injector.telemetry.traces import NO_TRACES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from injector.app.handover import HandedValue
    from injector.app.reconcile.checks import Checks
    from injector.app.reconcile.fetching import Flight
    from injector.app.reconcile.request import RefreshSummary, SidecarRequest, Sink
    from injector.app.reconcile.templates import Look
    from injector.app.status import SidecarStatus
    from injector.backends.contract import Outcome
    from injector.backends.registry import Registry
    from injector.errors import InjectorError
    from injector.model.references import Reference
    from injector.plan.planner import Account
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log
    from injector.telemetry.meter import Meter
    from injector.telemetry.traces import Tracer
    from injector.telemetry.vitals import Vitals
    from injector.watch.watcher import Change

ENGINE, READER, PUBLISHER = "engine", "templates", "publisher"
MISSED_BEATS = 3
CLOSE_WITHIN = 0.4  # seconds, each: the whole end takes less than one


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
        checks: runs check commands before that; without, none are run.
        on_published: called with (template, output, sha256 of the content in hex) in the event loop, for each output
            whose content has changed.
        on_removed: called with (template, output) in the event loop, for each output that was removed.
        settings_path, load_settings: the settings file, which is watched, and what loads all settings anew; it runs in
            a thread and raises InjectorError when they cannot be used. None: the settings stay as they are.
        on_settings: called with new settings in the event loop, once they hold.
        handed: values that an init container got just now: they are not asked for before their time.
        watch: whether templates and settings file are watched; without, `look` and the rescan say when to look.
        tracer: gets the spans `pass`, `fetch`, `render` and `publish`.
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
        checks: Checks | None = None,
        on_published: Callable[[str, str, str], None] | None = None,
        on_removed: Callable[[str, str], None] | None = None,
        settings_path: Path | None = None,
        load_settings: Callable[[], Settings] | None = None,
        on_settings: Callable[[Settings], None] | None = None,
        handed: Mapping[Reference, HandedValue] | None = None,
        watch: bool = True,
        tracer: Tracer = NO_TRACES,
        clock: Clock | None = None,
        seed: random.Random | None = None,
    ) -> None:
        self.started = asyncio.Event()
        self._request = request
        self._registry = registry
        self._log, self._meter, self._vitals = log, meter, vitals
        self._settings_path = settings_path if load_settings is not None else None
        self._on_settings = on_settings or (lambda _: None)
        self._watches_files = watch
        self._clock = clock or Clock()
        draw = seed or random.Random()  # noqa: S311  # jitter, no cryptography
        self._schedule = Schedule(settings.refresh)
        self._timers = Timers()
        self._span = PassSpan(tracer)
        self._cache = ValueCache(draw=draw)
        self._memory = Memory(log.redactor, self._cache)
        self._handed = Handed(handed or {})
        self._fetcher = Fetcher(
            registry,
            clock=self._clock,
            log=log,
            meter=meter,
            vitals=vitals,
            tracer=tracer,
            answered=self._answered,
            ended=self._fetch_ended,
        )
        self._pushes = Pushes(registry, self._cache, log=log, pushed=self._pushed)
        self._reader = Worker(READER, vitals, within=settings.timeout)
        self._publisher = Worker(PUBLISHER, vitals, within=settings.timeout)
        templates = TemplateReader(
            request.inputs,
            request.output_dir,
            registry,
            environment,
            log.warning,
            single=request.output is not None,
        )
        self._looking = Looking(
            templates, self._reader, clock=self._clock, timers=self._timers, log=log, looked=self._looked
        )
        self._reloading = Reloading(
            settings, settings_path, load_settings, self._reader, log=log, meter=meter, taken=self._settings_taken
        )
        self._outputs = Outputs(
            request,
            self._cache,
            is_asked=lambda reference: self._fetcher.is_asked(reference, account_of(reference)),
            publisher=self._publisher,
            sink=sink,
            checks=checks,
            clock=self._clock,
            timers=self._timers,
            log=log,
            meter=meter,
            tracer=tracer,
            draw=draw,
            wake=self._wake_up,
            on_published=on_published or (lambda *_: None),
            on_removed=on_removed or (lambda *_: None),
        )
        self._wake = asyncio.Event()
        self._asking = Asking()
        self._tasks = Tasks(self._wake_up)
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
            self._looking.is_wanted = True
            self._cache.expire((entry.reference for entry in self._cache.entries()), now)
            self._outputs.check_all()

        self._ask(begin)
        return future

    async def refreshed(self, reason: str) -> RefreshSummary:
        """`refresh`, waited for."""
        return await asyncio.wrap_future(self.refresh(reason))

    def look(self, *, settled: bool = True) -> None:
        """Templates may have changed; unless *settled*, they are looked at when they are quiet. From any thread."""
        self._ask(self._looking.want if settled else lambda: self._looking.want_when_quiet(self._settings))

    def reload(self) -> None:
        """The settings file may have changed. From any thread."""
        self._ask(self._reloading.want)

    def status(self) -> SidecarStatus:
        """How everything is now. From any thread."""
        return report(
            self._outputs.files(),
            self._cache,
            self._clock,
            started=self.started.is_set(),
            plugins=self._registry.plugins(),
            settings_error=self._reloading.error.message if self._reloading.error else None,
        )

    def errors(self) -> tuple[InjectorError, ...]:
        """What is wrong now, each with its place where it has one: for RunFailed, and so an exit code."""
        found = [error for file in self._outputs.files() for error in file.condition.errors]
        general = [self._looking.error] if self._looking.error is not None else []
        return tuple({id(error): error for error in [*general, *found]}.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way: all waits for a timer, or for a reason to look."""
        return (
            self._looking.has_looked
            and not (self._wake.is_set() or self._looking.is_under_way or self._looking.is_wanted)
            and not (self._reloading.is_under_way or self._reloading.is_wanted or self._is_working)
        )

    @property
    def next_wake(self) -> float | None:
        """When there is something to do without any other reason, by the clock; None for never."""
        return self._timers.next()

    @property
    def _settings(self) -> Settings:
        return self._reloading.settings

    @property
    def _is_working(self) -> bool:
        """Whether something is fetched, rendered or published, or about to be."""
        return bool(self._fetcher.flights()) or self._outputs.are_busy()

    # ----------------------------------------------------------------------------------------------------- the loop

    async def run(self) -> None:
        """
        Works until it is cancelled, and then ends within a second: a write under way is finished, or left to the
        process's end, which abandons it whole.
        """
        self._asking.open()
        self._expect()
        try:
            if self._watches_files:
                self._tasks.begin(self._watch())
            while True:
                self._wake.clear()
                if (fault := self._tasks.fault or self._outputs.fault) is not None:
                    raise fault
                self._pass()
                self._vitals.completed(ENGINE)
                await self._clock.wait(self._wake, self._timers.next())
        finally:
            await self._close()

    async def _close(self) -> None:
        self._asking.close()
        self._wishes.cancel()
        await asyncio.gather(
            self._publisher.close(grace=CLOSE_WITHIN),
            self._reader.close(grace=CLOSE_WITHIN),
            self._fetcher.close(grace=CLOSE_WITHIN),
            self._pushes.close(grace=CLOSE_WITHIN),
            self._outputs.close(grace=CLOSE_WITHIN),
            self._tasks.close(grace=CLOSE_WITHIN),
        )
        self._span.close()
        self._vitals.forget(ENGINE)

    def _pass(self) -> None:
        now = self._clock.now()
        for name in self._timers.due(now):
            self._timer(name)
        if self._reloading.is_wanted and not self._reloading.is_under_way:
            self._tasks.begin(self._reloading.reload())
        if self._looking.is_wanted and not self._looking.is_under_way:
            self._tasks.begin(self._looking.look(self._settings))
        for account in self._cache.accounts():
            self._fetch(account, now)
        if self._outputs.are_busy():
            self._span.open(now)
        self._outputs.advance()
        if not self.started.is_set() and self._looking.has_looked and self._outputs.are_started():
            self.started.set()
        if not self._fetcher.flights():
            self._memory.mask()
        if not self._is_working:
            self._quiet()
        self._timers.sooner("beat", now + self._settings.rescan)

    def _quiet(self) -> None:
        """Nothing is under way: what waited for that."""
        if self._span.is_open:
            self._span.close(files=len(self._outputs.files()), references=len(self._cache))
        if self._memory.is_worth_trimming(self._outputs.handled_bytes):
            self._outputs.handled_bytes = 0
            self._tasks.begin(self._publisher.call(memory.trim))
        self._fulfil()

    def _timer(self, name: object) -> None:
        match name:
            case "beat":
                self._meter.watched("rescan")
                self._looking.is_wanted = True
                self._memory.age()
                self._timers.set("beat", self._clock.now() + self._settings.rescan)
            case looking.LOOK:
                self._looking.want()
            case "settings":
                self._reloading.want()
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
            self._span.open(now)
            self._fetcher.start(account, due, self._cache.draw(), self._settings)
        else:
            self._timers.set(("values", account), self._cache.next_due(account))

    def _answered(self, flight: Flight, reference: Reference, outcome: Outcome) -> None:
        self._memory.freed(self._cache.get(reference))
        self._cache.answered(reference, outcome, began=flight.began, draw=flight.draw, schedule=self._schedule)
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

    def _looked(self, look: Look) -> bool:
        again = self._outputs.take(look, prune=self._settings.prune, grace=looking.AGAIN)
        self._use(self._outputs.references())
        return again

    def _use(self, wanted: Iterable[Reference]) -> None:
        now = self._clock.now()
        wanted = set(wanted)
        new = self._cache.use(sorted(wanted, key=str), now)
        touched = {account_of(reference) for reference in new}
        if self._handed:
            self._memory.freed(None)
            if came_with := self._handed.into(self._cache, new, now=now, schedule=self._schedule):
                self._tasks.begin(came_with.take_over(self._registry))
        dropped = [entry for entry in self._cache.entries() if entry.reference not in wanted]
        for entry in dropped:
            self._cache.drop(entry.reference)
            self._memory.freed(entry)
            touched.add(account_of(entry.reference))
        for account in touched:
            if not self._fetcher.is_busy(account):
                self._pushes.follow(account)
            if not self._cache.references(account):
                self._timers.cancel(("values", account))
                self._fetcher.forget(account)
        for account, ids in leases.unused(dropped, self._cache.entries()).items():
            self._tasks.begin(leases.give_back(self._registry, account, ids))

    async def _watch(self) -> None:
        await watching.watch(
            self._request,
            self._settings_path,
            rescan=self._settings.rescan,
            changed=self._changed,
            settings_changed=self._settings_changed,
            log=self._log,
            meter=self._meter,
            vitals=self._vitals,
        )

    def _changed(self, change: Change) -> None:
        if change.settled:
            self._looking.want()
        else:
            self._looking.want_when_quiet(self._settings)
        self._wake_up()

    def _settings_changed(self, change: Change) -> None:
        self._timers.set("settings", self._clock.now() + (0.0 if change.settled else self._settings.debounce_min))
        self._wake_up()

    def _settings_taken(self, before: Settings, settings: Settings) -> None:
        self._schedule = Schedule(settings.refresh)
        self._reader.within = self._publisher.within = settings.timeout
        self._expect()
        if settings.refresh != before.refresh:
            self._cache.reschedule(self._schedule)
        self._looking.is_wanted = True
        self._on_settings(settings)

    # ------------------------------------------------------------------------------------------------------- others

    def _expect(self) -> None:
        self._vitals.expect(ENGINE, within=MISSED_BEATS * self._settings.rescan)

    def _fulfil(self) -> None:
        if not self._wishes or self._looking.is_under_way or self._looking.is_wanted:
            return
        entries = self._cache.entries()
        oldest = min((float("-inf") if e.asked_at is None else e.asked_at for e in entries), default=float("inf"))
        for wish in self._wishes.fulfilled(min(oldest, self._looking.began_at)):
            wish.future.set_result(
                summary(
                    self._outputs.files(),
                    changed=self._outputs.changes_since(wish.began),
                    references=len(self._cache),
                    seconds=max(0.0, self._clock.now() - wish.began),
                    errors=self.errors(),
                )
            )

    def _wake_up(self) -> None:
        self._wake.set()

    def _ask(self, function: Callable[[], None]) -> None:
        def begin() -> None:
            function()
            self._wake_up()

        self._asking.ask(begin)
