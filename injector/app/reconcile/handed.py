"""Values that an init container got and left: those in use count as asked for then."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from injector.app.reconcile.leases import give_back
from injector.app.reconcile.values import account_of
from injector.errors import InjectorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from injector.app.handover import HandedValue
    from injector.app.reconcile.schedule import Schedule
    from injector.app.reconcile.values import ValueCache
    from injector.backends.registry import Registry
    from injector.model.references import Reference, Value
    from injector.plan.planner import Account


class Handed:
    """What was left, until the first look at the templates has shown which of it is in use."""

    def __init__(self, values: Mapping[Reference, HandedValue]) -> None:
        self._values = dict(values)

    def __bool__(self) -> bool:
        return bool(self._values)

    def into(self, cache: ValueCache, new: Iterable[Reference], *, now: float, schedule: Schedule) -> Leases:
        """Puts what there is of *new*, which have just come into use, into *cache*. Nothing is left then."""
        values, self._values = self._values, {}
        draws: dict[Account, float] = {}
        kept: Leases = Leases()
        for reference in new:
            if (handed := values.pop(reference, None)) is None:
                continue
            account = account_of(reference)
            draw = draws.setdefault(account, cache.draw())
            cache.take(reference, handed.value, fetched_at=handed.fetched_at, now=now, draw=draw, schedule=schedule)
            kept.add(reference, handed, is_used=True)
        for reference, handed in values.items():
            kept.add(reference, handed, is_used=False)
        return kept


class Leases:
    """Leases that came with handed values, by account: of those in use, and of the others."""

    def __init__(self) -> None:
        self._used: dict[Account, dict[Reference, str]] = {}
        self._unused: dict[Account, dict[Reference, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._used or self._unused)

    def add(self, reference: Reference, handed: HandedValue, *, is_used: bool) -> None:
        """The lease of a handed value, if it has one."""
        if (lease := handed.value.lease) is not None:
            into = self._used if is_used else self._unused
            into.setdefault(account_of(reference), {})[reference] = lease.id

    async def take_over(self, registry: Registry) -> None:
        """
        The backends give them back at the end, and at once what nothing uses. Best effort: they run out by themselves.
        """
        from injector.backends.contract import HandsOver  # late: few values have a lease

        for account in {**self._used, **self._unused}:
            used, unused = self._used.get(account, {}), self._unused.get(account, {})
            with contextlib.suppress(InjectorError):  # a backend that is down has nothing to give back
                backend = await registry.open(account.prefix, account.connection)
                if isinstance(backend, HandsOver):
                    backend.take_over({**used, **unused})
            # One lease may stand for several values.
            if ids := sorted(set(unused.values()) - set(used.values())):
                await give_back(registry, account, ids)


async def let_go(registry: Registry, values: Mapping[Reference, Value]) -> None:
    """The leases of *values*, which are left for another process, are that one's: nobody gives them back at the end."""
    from injector.backends.contract import HandsOver  # late: few values have a lease

    leased: dict[Account, list[Reference]] = {}
    for reference, value in values.items():
        if value.lease is not None:
            leased.setdefault(account_of(reference), []).append(reference)
    for account, references in leased.items():
        with contextlib.suppress(InjectorError):  # a backend that is down has nothing to give back
            backend = await registry.open(account.prefix, account.connection)
            if isinstance(backend, HandsOver):
                backend.let_go(references)
