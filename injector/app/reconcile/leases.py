"""Leases of values that nothing uses any more are given back."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from injector.app.reconcile.values import account_of
from injector.errors import InjectorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from injector.app.reconcile.values import Entry
    from injector.backends.registry import Registry
    from injector.plan.planner import Account


def unused(dropped: Iterable[Entry], kept: Iterable[Entry]) -> Mapping[Account, list[str]]:
    """The leases of *dropped*, by account, but for those that a value of *kept* has, too: one may stand for several."""
    held = {(account_of(entry.reference), lease) for entry in kept if (lease := _lease(entry)) is not None}
    leases: dict[Account, list[str]] = {}
    for entry in dropped:
        account, lease = account_of(entry.reference), _lease(entry)
        if lease is not None and (account, lease) not in held:
            held.add((account, lease))
            leases.setdefault(account, []).append(lease)
    return leases


async def give_back(registry: Registry, account: Account, leases: list[str]) -> None:
    """Best effort: a lease that cannot be given back runs out by itself."""
    from injector.backends.contract import Releasing  # late: few values have a lease

    with contextlib.suppress(InjectorError):  # a backend that is down has no leases to give back
        backend = await registry.open(account.prefix, account.connection)
        if isinstance(backend, Releasing):
            await backend.release(leases, connection=account.connection)


def _lease(entry: Entry) -> str | None:
    return entry.value.lease.id if entry.value is not None and entry.value.lease is not None else None
