"""All files: which must be rendered anew, and what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from injector.app.reconcile import jobs
from injector.app.reconcile.reporting import blocking, unfresh
from injector.app.reconcile.sets import FileSet, Member, Survey
from injector.app.reconcile.tasks import Tasks
from injector.app.reconcile.telling import Teller
from injector.app.reconcile.tracking import Tracker
from injector.app.status import FileState
from injector.errors import InjectorError, OutputError
from injector.model.policy import WriteMode

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from injector.app.reconcile.checks import Checks
    from injector.app.reconcile.clock import Clock
    from injector.app.reconcile.files import ManagedFile
    from injector.app.reconcile.jobs import Done, Job
    from injector.app.reconcile.request import Result, SidecarRequest, Sink
    from injector.app.reconcile.templates import Look, Seen
    from injector.app.reconcile.timers import Timers
    from injector.app.reconcile.values import Entry, ValueCache
    from injector.app.reconcile.worker import Worker
    from injector.model.references import Reference
    from injector.telemetry.logs import Log
    from injector.telemetry.meter import Meter
    from injector.telemetry.traces import Tracer

_MOST_AT_ONCE = 500
_LARGEST_AT_ONCE = 4 * 1024 * 1024  # bytes of templates


class Outputs:
    """
    The managed files of a sidecar.

    `check…` notes that a file may not be what it should; `advance` then does what is to be done: nothing, while a value
    is on its way for the first time or anew; else a job for the publisher, when template or values are not those that
    the output was made of. *wake* is called when there is something new; *on_published* and *on_removed* are as in
    Sidecar.
    """

    def __init__(
        self,
        request: SidecarRequest,
        cache: ValueCache,
        *,
        is_asked: Callable[[Reference], bool],
        publisher: Worker,
        sink: Sink,
        checks: Checks | None,
        clock: Clock,
        timers: Timers,
        log: Log,
        meter: Meter,
        tracer: Tracer,
        draw: random.Random,
        wake: Callable[[], None],
        on_published: Callable[[str, str, str], None],
        on_removed: Callable[[str, str], None],
    ) -> None:
        self._request = request
        self._cache = cache
        self._is_asked = is_asked
        self._publisher = publisher
        self._sink = sink
        self._checks = checks
        self._clock = clock
        self._timers = timers
        self._log = log
        self._meter = meter
        self._tracer = tracer
        self._draw = draw
        self._on_published = on_published
        self._on_removed = on_removed
        self._tracker = Tracker(clock)
        self._files = self._tracker.files
        self._users = self._tracker.users
        self._dirty: set[str] = set()
        self._set = FileSet()
        self._tasks = Tasks(wake)
        self.handled_bytes = 0  # rendered and published since somebody set it to 0
        self._teller = Teller(log, clock)

    @property
    def fault(self) -> BaseException | None:
        """What ended a task of ours that should not have failed."""
        return self._tasks.fault

    def files(self) -> list[ManagedFile]:
        """All, from any thread."""
        return list(self._files.values())

    def references(self) -> set[Reference]:
        """What the files need."""
        return set(self._users)

    def are_busy(self) -> bool:
        """Whether something is under way, or about to be."""
        return bool(self._tasks or self._dirty)

    def are_started(self) -> bool:
        """Whether every required file was rendered once."""
        return self._tracker.is_sure and all(
            file.has_output or not file.seen.own.required or file.condition.state is FileState.REMOVED
            for file in self._files.values()
        )

    def changes_since(self, moment: float) -> int:
        """How many outputs were changed at *moment* or later."""
        return sum(1 for file in self._files.values() if file.changed_since >= moment)

    def check(self, name: str) -> None:
        """The file *name* may be tried again, though it failed with these values."""
        if (file := self._files.get(name)) is not None:
            file.tried = None
            self._dirty.add(name)

    def check_users(self, reference: Reference) -> None:
        """There is news of *reference*."""
        self._dirty |= self._users.get(reference, set())

    def check_all(self) -> None:
        """Every output is compared with what it should be."""
        for file in self._files.values():
            file.published = None
            self.check(file.name)

    async def close(self, *, grace: float) -> None:
        """Waits for nothing any more."""
        await self._tasks.close(grace=grace)

    # ---------------------------------------------------------------------------------------------------- templates

    def take(self, look: Look, *, prune: bool, grace: float) -> bool:
        """
        Takes what a look found. A file that is not there for *grace* seconds is taken for deleted.

        True when something was not there, and another look is needed to know.
        """
        taken = self._tracker.take(look, grace=grace)
        self._dirty |= set(taken.changed)
        for name in taken.forgotten:
            self._forgotten(name)
        for file in taken.gone:
            self._gone(file, prune=prune)
        return taken.again

    def _gone(self, file: ManagedFile, *, prune: bool) -> None:
        self._tracker.leave(file.name, file.references)
        file.removed()
        if self._is_of_set(file):
            self._set.is_dirty = True
            self._forget(file)  # the next set is without it
            self._log.warning("template is gone, the set goes on without it", template=file.name)
        elif any(other is not file and other.seen.output == file.seen.output for other in self._files.values()):
            self._forget(file)  # renamed: the output is another template's
        elif prune:
            self._tasks.begin(self._remove(file))
        else:
            self._log.warning("template is gone, its output stays", template=file.name, output=file.seen.output)

    def _forget(self, file: ManagedFile) -> None:
        self._tracker.forget(file)
        self._forgotten(file.name)

    def _forgotten(self, name: str) -> None:
        self._dirty.discard(name)
        self._timers.cancel(("file", name))

    async def _remove(self, file: ManagedFile) -> None:
        target, root = self._place(file.seen)
        try:
            was_there = await self._publisher.call(lambda: self._sink.remove(target, root))
        except Exception as error:  # noqa: BLE001  # a fault of one file must not end the others
            file.removed(error if isinstance(error, InjectorError) else _fault(file.name, error))
            self._timers.set(("file", file.name), self._clock.now() + file.retry_pause(self._draw))
            return
        file.digest = None
        if file.condition.state is FileState.REMOVED:
            self._forget(file)
        self._log.info("output removed, its template is gone", template=file.name, output=file.seen.output)
        if was_there:
            self._on_removed(file.name, self._path(file))

    # ----------------------------------------------------------------------------------------------------- rendering

    def advance(self) -> None:
        """Does what is to be done now; see the class."""
        names, self._dirty = self._dirty, set()
        ready: list[tuple[ManagedFile, object]] = []
        for name in sorted(names):
            file = self._files.get(name)
            if file is None:
                continue
            if file.is_busy:
                file.is_late = True
            elif file.condition.state is FileState.REMOVED:
                if file.condition.errors:
                    self._tasks.begin(self._remove(file))
            elif self._is_of_set(file):
                self._set.is_dirty = True
            elif (key := self._advance(file)) is not None:
                ready.append((file, key))
        for batch in _batches(ready, is_alone=self._is_checked):
            # The snapshot is of this pass: before the task begins, the next answers may be there.
            self._tasks.begin(self._publish(batch, [self._job(file) for file, _ in batch]))
        if self._set.is_dirty:
            self._advance_set()
        self._teller.tell(self._files.values())

    def _is_of_set(self, file: ManagedFile) -> bool:
        return file.seen.own.write is WriteMode.SET and self._request.output_dir is not None

    def _advance(self, file: ManagedFile) -> object:
        """What the output is to be made of, when it is to be made now; None otherwise."""
        if self._is_waiting(file):
            return None
        key, errors = self._key(file)
        if errors:
            self._refused(file, errors)
        elif key == file.published:
            file.settle(unfresh(file.seen, self._entries(file)))
        elif key != file.tried:
            return key
        return None

    def _is_waiting(self, file: ManagedFile) -> bool:
        """Whether a value is on its way, for the first time or because it is due. A retry is not waited for."""
        if file.seen.errors:
            return False
        for reference in file.references:
            entry = self._cache.get(reference)
            if entry is None or entry.asked_at is None or (not entry.failures and self._is_asked(reference)):
                return True
        return False

    def _key(self, file: ManagedFile) -> tuple[object, tuple[InjectorError, ...]]:
        """What the output would be made of, and why it cannot be."""
        if file.seen.errors:
            return None, file.seen.errors
        entries = self._entries(file)
        return (file.version, tuple(entry.revision for entry in entries)), blocking(file.seen, entries)

    def _entries(self, file: ManagedFile) -> list[Entry]:
        found = (self._cache.get(reference) for reference in file.references)
        return [entry for entry in found if entry is not None]

    def _refused(self, file: ManagedFile, errors: tuple[InjectorError, ...]) -> None:
        file.settle(errors)
        self._meter.rendered(file.name, "stale" if file.condition.state is FileState.STALE else "failed", 0.0)

    def _job(self, file: ManagedFile) -> Job:
        target, root = self._place(file.seen)
        entries = self._entries(file)
        newest = {entry.reference: entry.newest for entry in entries if entry.newest is not None}
        last_good = {entry.reference: entry.last_good for entry in entries if entry.last_good is not None}
        return jobs.Job(file.seen, target, root, newest, last_good)

    def _place(self, seen: Seen) -> tuple[Path, Path | None]:
        if self._request.output_dir is not None:
            return Path(seen.output), self._request.output_dir
        return self._request.output or Path(seen.output or seen.name), None

    def _path(self, file: ManagedFile) -> str:
        target, root = self._place(file.seen)
        return str(root / target if root is not None else target)

    def _is_checked(self, file: ManagedFile) -> bool:
        return self._checks is not None and bool(file.seen.own.check.command)

    async def _publish(self, batch: Sequence[tuple[ManagedFile, object]], work: Sequence[Job]) -> None:
        done = await self._call(batch, self._done(batch, work))
        if not done:
            return
        for (file, key), one in zip(batch, done, strict=True):
            self._finished(file, key, one)

    async def _done(self, batch: Sequence[tuple[ManagedFile, object]], work: Sequence[Job]) -> list[Done]:
        """What became of *work*; nothing when it was given up."""
        sink, tracer = self._sink, self._tracer
        if self._checks is None or not any(job.seen.own.check.command for job in work):
            return await self._publisher.call(lambda: jobs.publish(jobs.render(work, tracer), sink, tracer))
        rendered = await self._publisher.call(lambda: jobs.render(work, tracer))
        if error := await self._refusal(jobs.results_of(rendered)):
            return jobs.refused(rendered, error)
        if any(file.condition.state is FileState.REMOVED for file, _ in batch):
            return []  # the template has gone meanwhile, and so may its output have: it must not come back
        return await self._publisher.call(lambda: jobs.publish(rendered, sink, tracer))

    async def _refusal(self, results: Sequence[Result]) -> InjectorError | None:
        return await self._checks.refusal(results) if self._checks is not None and results else None

    async def _call(
        self, batch: Sequence[tuple[ManagedFile, object]], work: Coroutine[None, None, list[Done]]
    ) -> list[Done]:
        try:
            return await work
        except Exception as error:  # noqa: BLE001  # a fault of some files must not end the others
            return [jobs.Done(file.name, failure=_fault(file.name, error)) for file, _ in batch]
        finally:
            for file, _ in batch:
                file.is_busy = False
                if file.is_late:
                    file.is_late = False
                    self._dirty.add(file.name)

    def _finished(self, file: ManagedFile, key: object, done: Done) -> None:
        self.handled_bytes += done.size
        if done.failure is not None:
            file.tried = key
            self._refused(file, (done.failure, *done.problems))
            self._timers.set(("file", file.name), self._clock.now() + file.retry_pause(self._draw))
        elif done.digest is None:
            file.tried = key
            self._refused(file, done.problems)
        else:
            self._succeeded(file, key, done, done.digest)

    def _succeeded(self, file: ManagedFile, key: object, done: Done, digest: str) -> None:
        is_new = done.changed and digest != file.digest
        reason = _reason(file.published, key) if file.has_output else "first"
        file.published = key
        file.rendered(digest, changed=is_new, errors=unfresh(file.seen, self._entries(file)) or done.problems)
        result = "changed" if is_new else "unchanged"
        self._meter.rendered(file.name, "stale" if file.condition.errors else result, done.seconds)
        if is_new:
            path = self._path(file)
            self._log.info("file written", template=file.name, output=path, reason=reason)
            self._on_published(file.name, path, digest)

    # --------------------------------------------------------------------------------------------- all at once (set)

    def _advance_set(self) -> None:
        files = [
            file
            for file in self._files.values()
            if self._is_of_set(file) and file.condition.state is not FileState.REMOVED
        ]
        if any(file.is_busy for file in files):
            return  # its end comes back here
        self._set.is_dirty = False
        survey = Survey()
        for file in files:
            if self._is_waiting(file):
                return
            key, errors = self._key(file)
            if errors:
                self._refused(file, errors)
            survey.add(Member(file, key, errors))
        ready = [(one.file, one.key) for one in survey.ready]
        if survey.held:
            for file, key in ready:
                if key != file.published:
                    file.settle(survey.held[:1])
        elif self._set.is_done(survey):
            for file, _ in ready:
                file.settle(unfresh(file.seen, self._entries(file)))
        elif self._set.is_due(survey):
            self._set.names = survey.names
            for file, _ in ready:
                file.is_busy = True
            self._tasks.begin(self._publish_set(ready, [self._job(file) for file, _ in ready]))

    async def _publish_set(self, ready: Sequence[tuple[ManagedFile, object]], work: Sequence[Job]) -> None:
        done = await self._call(ready, self._done_set(work))
        held = next((one.problems for one in done if one.digest is None and one.problems), ())
        for (file, key), one in zip(ready, done, strict=True):
            if one.digest is None and one.failure is None and not one.problems:
                file.tried = key
                file.settle(held[:1])
            else:
                self._finished(file, key, one)
        paths = {file.name: self._path(file) for (file, _), one in zip(ready, done, strict=True) if one.digest}
        if paths:
            for name, path in self._set.published(paths):
                self._on_removed(name, path)

    async def _done_set(self, work: Sequence[Job]) -> list[Done]:
        sink, tracer = self._sink, self._tracer
        rendered = await self._publisher.call(lambda: jobs.render(work, tracer))
        if not jobs.is_held(rendered) and (error := await self._refusal(jobs.results_of(rendered))):
            return jobs.refused(rendered, error)
        return await self._publisher.call(lambda: jobs.publish_set(rendered, sink, tracer))


def _reason(before: object, now: object) -> str:
    """Why an output is not what it was: keys are (version of the template, revisions of the values)."""
    if not isinstance(before, tuple) or not isinstance(now, tuple):
        return "refresh"  # asked for; what was there is not trusted then
    return "values" if before[0] == now[0] else "template"


def _batches(
    ready: Sequence[tuple[ManagedFile, object]], *, is_alone: Callable[[ManagedFile], bool]
) -> Iterator[list[tuple[ManagedFile, object]]]:
    """
    As many files at once as keep the publisher's memory, and what is lost by a fault, small. They are busy then.

    Those that *is_alone* is true of are a batch each: nobody waits for them.
    """
    batch: list[tuple[ManagedFile, object]] = []
    size = 0
    for file, key in ready:
        file.is_busy = True
        if is_alone(file):
            yield [(file, key)]
            continue
        batch.append((file, key))
        size += len(file.seen.template.source.data) if file.seen.template is not None else 0
        if len(batch) >= _MOST_AT_ONCE or size >= _LARGEST_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _fault(name: str, error: Exception) -> OutputError:
    return OutputError(f"{name} could not be rendered: {type(error).__name__}", hint="this is a fault of injector")
