"""What is known of each file: its template, its state, and since when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from injector.app.status import FileState, FileStatus
from injector.model.policy import OnError

if TYPE_CHECKING:
    import random

    from injector.app.reconcile.clock import Clock
    from injector.app.reconcile.templates import Seen
    from injector.app.status import TokenStatus
    from injector.errors import InjectorError
    from injector.model.references import Reference

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
_MOST_DOUBLINGS = 30


class Condition(Struct, frozen=True):
    """
    How a file is. Times that end in `_at` are seconds since the epoch, `since` is monotonic: from when it is stale.
    """

    state: FileState = FileState.PENDING
    errors: tuple[InjectorError, ...] = ()
    rendered_at: float | None = None
    changed_at: float | None = None
    stale_at: float | None = None
    since: float | None = None


class ManagedFile:
    """
    One template and its output, for as long as the sidecar knows of it.

    Changed in the event loop only; `condition` is replaced as a whole, so that other threads may read it.
    """

    def __init__(self, seen: Seen, clock: Clock) -> None:
        self.seen = seen
        self.version = 0  # of `seen`
        self.references = _references(seen)
        self.condition = Condition()
        self.digest: str | None = None  # of the content that was published last
        self.published: object = None  # what that was made of, see `Outputs`
        self.tried: object = None  # what it was made of when that failed last
        self.is_busy = False  # a job for it is under way
        self.is_late = False  # there was news of it since the job began
        self.changed_since = float("-inf")  # monotonic
        self.absent_since: float | None = None
        self.failures = 0  # of the sink, in a row
        self._clock = clock

    @property
    def name(self) -> str:
        return self.seen.name

    @property
    def has_output(self) -> bool:
        """Whether there is a good file that this process has rendered."""
        return self.digest is not None

    def take(self, seen: Seen) -> bool:
        """The template was looked at. True when it is not what it was."""
        self.absent_since = None
        if not seen.output:
            seen = replace(seen, output=self.seen.output)  # it could not be found out: it is still the same file
        if seen == self.seen and self.condition.state is not FileState.REMOVED:
            return False
        self.seen = seen
        self.version += 1
        if self.condition.state is FileState.REMOVED:
            self.condition = replace(self.condition, state=FileState.PENDING)
        # One that cannot be scanned keeps its values: they are wanted again when it is mended.
        if seen.template is not None or not self.has_output:
            self.references = _references(seen)
        return True

    def rendered(self, digest: str, *, changed: bool, errors: tuple[InjectorError, ...]) -> None:
        """What should be published is."""
        now = self._clock.wall()
        self.digest = digest
        self.failures = 0
        self.condition = replace(self.condition, rendered_at=now)
        if changed:
            self.changed_since = self._clock.now()
            self.condition = replace(self.condition, changed_at=now)
        self.settle(errors)

    def settle(self, errors: tuple[InjectorError, ...]) -> None:
        """What is wrong now; nothing makes it ready, if there is an output."""
        condition = replace(self.condition, errors=errors)
        if not errors:
            self.condition = replace(condition, state=FileState.READY, stale_at=None, since=None)
            return
        if condition.since is None:
            condition = replace(condition, stale_at=self._clock.wall(), since=self._clock.now())
        keeps = self.has_output and self.seen.own.on_error is OnError.KEEP
        self.condition = replace(condition, state=FileState.STALE if keeps else FileState.FAILED)

    def removed(self, error: InjectorError | None = None) -> None:
        """The template is gone; *error* is why its output could not be removed."""
        self.references = frozenset()
        self.published = self.tried = None
        errors = () if error is None else (error,)
        self.condition = replace(self.condition, state=FileState.REMOVED, errors=errors, stale_at=None, since=None)

    def retry_pause(self, draw: random.Random) -> float:
        """Seconds until the sink is tried again, after one more failure."""
        self.failures += 1
        ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self.failures, _MOST_DOUBLINGS))
        return draw.uniform(FIRST_PAUSE, ceiling)

    def status(self, tokens: tuple[TokenStatus, ...]) -> FileStatus:
        """For `SidecarStatus`; from any thread."""
        condition, seen = self.condition, self.seen
        stale_for = self._clock.now() - condition.since if condition.since is not None else 0.0
        limit = seen.own.max_stale
        return FileStatus(
            template=seen.name,
            output=seen.output,
            state=condition.state,
            required=seen.own.required,
            rendered_at=condition.rendered_at,
            changed_at=condition.changed_at,
            stale_since=condition.stale_at if condition.state is FileState.STALE else None,
            too_stale=condition.state is FileState.STALE and limit is not None and stale_for > limit,
            error=_told(condition.errors),
            error_code=condition.errors[0].code if condition.errors else None,
            tokens=tokens,
        )


def _references(seen: Seen) -> frozenset[Reference]:
    return frozenset(token.reference for token in seen.template.tokens()) if seen.template else frozenset()


def _told(errors: tuple[InjectorError, ...]) -> str | None:
    if not errors:
        return None
    first = errors[0]
    place = f"{first.place}: " if first.place else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{place}{first.message}{more}"
