"""The values in use: since when, how fresh, what went wrong last, and when to ask again. Memory only."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from injector.errors import InjectorError, MissingError
from injector.model.references import Reference, Value  # noqa: TC001 - msgspec reads the fields' types
from injector.plan.planner import Account

if TYPE_CHECKING:
    from collections.abc import Iterable

    from injector.app.reconcile.schedule import Schedule
    from injector.backends.contract import Outcome

NEVER = float("inf")


class Entry(Struct, frozen=True):
    """
    What is known of one reference. Times are monotonic seconds.

    `value` is the last good one, got at `fetched_at`; `error` why the last attempt failed, None when it did not. The
    last attempt began at `asked_at` (None: none has ended yet), `failures` were those in a row, and the next one is due
    at `due`. `revision` is another one whenever a render could come out differently.
    """

    reference: Reference
    due: float
    value: Value | None = None
    error: InjectorError | None = None
    fetched_at: float | None = None
    asked_at: float | None = None
    failures: int = 0
    revision: int = 0

    @property
    def newest(self) -> Outcome | None:
        """What the store says now: that there is no such value goes before the value that there was."""
        return self.error if isinstance(self.error, MissingError) or self.value is None else self.value

    @property
    def last_good(self) -> Outcome | None:
        """The value that there is or was; why there never was one."""
        return self.error if self.value is None else self.value


class ValueCache:
    """
    Values by reference, for as long as `use` names them.

    *draw* gives a random number in [0, 1).
    """

    def __init__(self, *, draw: random.Random | None = None) -> None:
        self._random = draw or random.Random()  # noqa: S311  # jitter, no cryptography
        self._entries: dict[Reference, Entry] = {}
        self._accounts: dict[Account, dict[Reference, None]] = {}
        self._revisions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, reference: Reference) -> Entry | None:
        """What is known of *reference*; from any thread."""
        return self._entries.get(reference)

    def entries(self) -> list[Entry]:
        """All; from any thread."""
        return list(self._entries.values())

    def accounts(self) -> list[Account]:
        """Those of whom something is wanted."""
        return list(self._accounts)

    def references(self, account: Account) -> tuple[Reference, ...]:
        """What is wanted of *account*, in the order in which it came into use."""
        return tuple(self._accounts.get(account, ()))

    def use(self, references: Iterable[Reference], now: float) -> list[Reference]:
        """From now on these are in use: those that are not known yet are due, and given back."""
        new = [reference for reference in references if reference not in self._entries]
        for reference in new:
            self._entries[reference] = Entry(reference, due=now)
            self._accounts.setdefault(account_of(reference), {})[reference] = None
        return new

    def take(
        self, reference: Reference, value: Value, *, fetched_at: float, now: float, draw: float, schedule: Schedule
    ) -> None:
        """Takes a value that another process got at *fetched_at* for *reference*, which has come into use just now."""
        self._entries[reference] = replace(
            self._entries[reference],
            value=value,
            fetched_at=fetched_at,
            asked_at=now,
            due=fetched_at + schedule.after_success(value, draw, is_first=True),
            revision=self._revision(),
        )

    def drop(self, reference: Reference) -> Entry | None:
        """Forgets *reference*, which nothing uses; gives what was known."""
        entry = self._entries.pop(reference, None)
        account = account_of(reference)
        if (wanted := self._accounts.get(account)) is not None:
            wanted.pop(reference, None)
            if not wanted:
                del self._accounts[account]
        return entry

    def expire(self, references: Iterable[Reference], now: float) -> None:
        """These are due at once."""
        for reference in references:
            if (entry := self._entries.get(reference)) is not None and entry.due > now:
                self._entries[reference] = replace(entry, due=now)

    def reschedule(self, schedule: Schedule) -> None:
        """The setting has changed: what is fresh is asked for again when *schedule* says so."""
        for reference, entry in list(self._entries.items()):
            if entry.value is not None and not entry.failures and entry.fetched_at is not None:
                due = entry.fetched_at + schedule.after_success(entry.value, self.draw(), is_first=False)
                self._entries[reference] = replace(entry, due=due)

    def due(self, account: Account, now: float, schedule: Schedule) -> list[Reference]:
        """
        What *account* is to be asked for; empty when nothing is due.

        When something is, what would be soon goes along: calls are what is scarce, and batches stay together.
        """
        entries = [self._entries[reference] for reference in self._accounts.get(account, ())]
        if not any(entry.due <= now for entry in entries):
            return []
        soon = now + schedule.slack
        return [entry.reference for entry in entries if entry.due <= (now if entry.failures else soon)]

    def next_due(self, account: Account) -> float:
        """When something of *account* is due; infinity for never."""
        return min((self._entries[reference].due for reference in self._accounts.get(account, ())), default=NEVER)

    def draw(self) -> float:
        """The random part of one pass of one account: what was asked for together stays together."""
        return self._random.random()

    def answered(
        self, reference: Reference, outcome: Outcome, *, began: float, draw: float, schedule: Schedule
    ) -> bool:
        """
        Takes the answer of an attempt that began at *began*. True when a render could come out differently.

        Ignored for a reference that is out of use.
        """
        entry = self._entries.get(reference)
        if entry is None:
            return False
        if isinstance(outcome, InjectorError):
            changed = self._failed(entry, outcome, began, draw, schedule)
        else:
            changed = self._succeeded(entry, outcome, began, draw, schedule)
        return changed

    def _failed(self, entry: Entry, error: InjectorError, began: float, draw: float, schedule: Schedule) -> bool:
        failures = entry.failures + 1
        due = began + schedule.after_failure(error, failures, draw)
        # Only that a value is missing changes what is rendered; any other error leaves the last good one.
        changed = entry.asked_at is None or _kind(entry.error, entry.value) != _kind(error, entry.value)
        self._entries[entry.reference] = replace(
            entry,
            error=error,
            failures=failures,
            asked_at=began,
            due=due,
            revision=self._revision() if changed else entry.revision,
        )
        return changed

    def _succeeded(self, entry: Entry, value: Value, began: float, draw: float, schedule: Schedule) -> bool:
        changed = (
            entry.value is None
            or entry.value.data != value.data
            or entry.value.format != value.format
            or isinstance(entry.error, MissingError)
        )
        self._entries[entry.reference] = replace(
            entry,
            value=value,
            error=None,
            failures=0,
            fetched_at=began,
            asked_at=began,
            due=began + schedule.after_success(value, draw, is_first=entry.fetched_at is None),
            revision=self._revision() if changed else entry.revision,
        )
        return changed

    def _revision(self) -> int:
        self._revisions += 1
        return self._revisions


def account_of(reference: Reference) -> Account:
    """Who is asked for *reference*."""
    return Account(reference.prefix, reference.connection)


def _kind(error: InjectorError | None, value: Value | None) -> tuple[bool, str]:
    """What a render would see of an error: nothing, while there is a value to go on with."""
    missing = isinstance(error, MissingError)
    seen = error is not None and (missing or value is None)
    return missing, f"{error.code} {error.message}" if seen and error is not None else ""
