"""
Calls back whenever the inputs may have changed: told by inotify, and by a slow look of its own behind it.

There is no thread: a descriptor in the event loop, and a survey of names and times (`survey`) in small slices. Each
event that matters leads to a survey, which watches what is new before it lists it, and then to one call. So a change
after a call always leads to another call, and a storm of events costs a bounded share of a core.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.watch import inotify
from injector.watch.single_files import single_file_mounts
from injector.watch.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from injector.telemetry.logs import Log
    from injector.telemetry.meter import Meter
    from injector.telemetry.vitals import Vitals
    from injector.watch.inotify import Event

POLL = 2.0
"""Seconds between two looks where inotify is not to be had."""
_SHORTEST_PAUSE = 0.01
_LONGEST_PAUSE = 1.0
_IDLE_PAUSE = 0.001  # after events that do not matter
_PAUSE_PER_COST = 4  # at most a fifth of a core, whatever happens in the file system
_SLICE = 0.002  # seconds of surveying before others have their turn
# Changes this fresh may be followed by one with the same time stamp: the kernel's clock ticks, other systems' slower.
_FRESH = 1.0
_GRACE = 10.0


class Change(Struct, frozen=True):
    """
    Why to look again.

    `source` is `inotify`, `rescan` or `polling`. `settled` is True for an atomic switch (a `..data` rename, a file that
    was renamed into place, what has not changed for a while), False when a file may still be being written, or when
    something vanished that may come back in a moment.
    """

    source: str
    settled: bool


class Watcher:
    """
    Watches *paths*: files, and directories with all that is below; links are followed; what is missing is waited for.

    *on_change* is called in the event loop, at most once in an iteration, and returns quickly. The first call comes
    when everything is watched: what was read before that may be old. *rescan* is the time in seconds after which the
    names and times are compared whether or not there was an event. *ignore* is asked for the last component of a name;
    *skip* are directories below *paths* that are not entered, such as that of the output. *name* is the worker that
    *vitals* expects: it completes a look at least every 2 x *rescan* + 10 seconds.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        on_change: Callable[[Change], None],
        *,
        rescan: float,
        log: Log,
        meter: Meter,
        vitals: Vitals,
        name: str = "watch",
        ignore: Callable[[str], bool] = lambda _: False,
        skip: Sequence[Path] = (),
    ) -> None:
        if rescan <= 0:
            raise ValueError("the time between two rescans is more than 0 seconds")
        self._on_change = on_change
        self._rescan = rescan
        self._log = log
        self._meter = meter
        self._vitals = vitals
        self._name = name
        self._ignore = ignore
        self._paths: list[str] = []
        self._skip: list[str] = []
        self._single_files: tuple[Path, ...] = ()
        self._wake = asyncio.Event()
        self._retargeted = False
        self._inotify: inotify.Inotify | None = None
        self._warned = False
        self._last: Survey | None = None
        self._seen: int | None = None
        self._due = 0.0
        self._again = 0.0  # when inotify is tried again
        self._cost = 0.0
        self.retarget(paths, skip=skip)

    @property
    def is_polling(self) -> bool:
        """Whether inotify is not to be had, so that changes are found every `POLL` seconds or *rescan*."""
        return self._inotify is None

    @property
    def watches(self) -> int:
        """How many directories inotify watches."""
        return len(self._last.places) if self._last is not None else 0

    @property
    def subpath_mounts(self) -> tuple[Path, ...]:
        """The inputs that are mounts of single files, whose updates never arrive (as of `run` or `retarget`)."""
        return self._single_files

    def retarget(self, paths: Sequence[Path], *, skip: Sequence[Path] | None = None) -> None:
        """Watches *paths* (and skips *skip*, if given) from now on; there is a call when that has begun."""
        # Joined, not normalized: behind a link, `..` is not what precedes it in the text.
        self._paths = [os.path.join(os.getcwd(), path) for path in paths]  # noqa: PTH109, PTH118
        if skip is not None:
            self._skip = [os.fspath(path) for path in skip]
        self._single_files = single_file_mounts(paths)
        self._retargeted = True
        self._wake.set()

    async def run(self) -> None:
        """Watches until it is cancelled. A file system or a limit never ends it; what *on_change* raises does."""
        self._vitals.expect(self._name, within=2 * self._rescan + _GRACE)
        try:
            self._open()
            while True:
                await self._turn()
        except asyncio.CancelledError:
            self._vitals.forget(self._name)  # on purpose; ended in any other way, it is missed
            raise
        finally:
            self._close()

    async def _turn(self) -> None:
        """Waits for a reason, and looks if it is one."""
        if not self._retargeted:
            await self._wait(self._due - time.monotonic())
        events = self._inotify.read() if self._inotify is not None else []
        if self._retargeted:
            self._retargeted = False
            self._warn_of_single_files()
            await self._look(always=True)
        elif any(_matters(event, self._last) for event in events):
            await self._look(events, always=True)
        elif time.monotonic() >= self._due:
            self._try_again()
            await self._look()
        else:
            await asyncio.sleep(_IDLE_PAUSE)
            return
        await asyncio.sleep(min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, _PAUSE_PER_COST * self._cost)))

    async def _wait(self, seconds: float) -> None:
        """Until there are events, `retarget` was called, or *seconds* have passed."""
        loop = asyncio.get_running_loop()
        self._wake.clear()
        descriptor = self._inotify.fileno() if self._inotify is not None else None
        if descriptor is not None:
            loop.add_reader(descriptor, self._wake.set)
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            if descriptor is not None:
                loop.remove_reader(descriptor)

    async def _look(self, events: Sequence[Event] = (), *, always: bool = False) -> None:
        """Surveys, because of *events* or without any, and calls back if *always* or if there is something new."""
        before = self._last
        survey = await self._survey()
        fresh = abs(time.time() - survey.newest) < _FRESH
        changed = always or survey.fingerprint != self._seen
        # What is fresh is looked at once more next time: its time stamp does not tell two changes of a moment apart.
        self._seen = None if fresh else survey.fingerprint
        self._due = time.monotonic() + (min(POLL, self._rescan) if self.is_polling else self._rescan)
        if changed:
            source = "inotify" if events else "polling" if self.is_polling else "rescan"
            self._meter.watched(source)
            settled = _settled(events, before, survey) if events else not fresh
            self._on_change(Change(source, settled))
        self._vitals.completed(self._name)

    async def _survey(self) -> Survey:
        try:
            return await self._survey_once()
        except inotify.Unavailable as reason:
            self._fall_back(reason)
            return await self._survey_once()

    async def _survey_once(self) -> Survey:
        arm = self._inotify.arm if self._inotify is not None else _arm_nothing
        survey = Survey(self._paths, arm=arm, ignore=self._ignore, skip=self._skip)
        self._cost = 0.0
        began = time.perf_counter()
        for _ in survey.run():
            if time.perf_counter() - began > _SLICE:
                self._cost += time.perf_counter() - began
                await asyncio.sleep(0)
                began = time.perf_counter()
        self._cost += time.perf_counter() - began
        if self._inotify is not None and self._last is not None:
            for wd in self._last.places.keys() - survey.places.keys():
                self._inotify.disarm(wd)
        self._last = survey
        if self._inotify is not None and self._warned:
            self._warned = False
            self._log.info("inotify is to be had again: changes are told by the kernel")
        return survey

    def _open(self) -> None:
        try:
            self._inotify = inotify.Inotify()
        except inotify.Unavailable as reason:
            self._fall_back(reason)

    def _try_again(self) -> None:
        if self._inotify is None and time.monotonic() >= self._again:
            self._open()

    def _fall_back(self, reason: inotify.Unavailable) -> None:
        """From inotify to polling. Said once, until it works again."""
        self._close()
        self._again = time.monotonic() + self._rescan
        if not self._warned:
            self._warned = True
            self._log.warning(
                "inotify is not to be had: changes are found by polling",
                reason=reason.reason,
                remedy=reason.remedy,
                every_seconds=min(POLL, self._rescan),
            )

    def _close(self) -> None:
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
        self._last = None

    def _warn_of_single_files(self) -> None:
        for path in self._single_files:
            self._log.warning(
                "a mount of a single file is never updated",
                path=path,
                remedy="mount the whole volume instead of using subPath",
            )


def _arm_nothing(_directory: str, _mask: int) -> None:
    """Polling."""


def _matters(event: Event, survey: Survey | None) -> bool:
    if event.mask & inotify.Q_OVERFLOW:
        return True
    if survey is None or event.wd not in survey.places:
        return False
    return bool(event.mask & inotify.ABOUT_ITSELF) or survey.cares_for(event.wd, event.name)


def _settled(events: Sequence[Event], before: Survey | None, after: Survey) -> bool:
    """
    Whether all names that *events* are about were switched in one step.

    Only the last event of a name counts, and only of names that the surveys *before* and *after* them care for: the
    generation that the kubelet makes before a switch is none of them, nor is the one that it removes. What a directory
    says of itself, the one above says, too.
    """
    arrived = {event.cookie for event in events if event.mask & inotify.MOVED_TO}
    last: dict[tuple[int, str], bool] = {}
    for event in events:
        if not event.mask & inotify.ABOUT_ITSELF and _matters(event, before) and _matters(event, after):
            last[event.wd, event.name] = (
                bool(event.mask & inotify.MOVED_TO)
                or (bool(event.mask & inotify.MOVED_FROM) and event.cookie in arrived)
                or (bool(event.mask & inotify.CREATE) and after.is_link(event.wd, event.name))
            )
    return bool(last) and all(last.values())
