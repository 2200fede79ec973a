"""Watches of the backends that can: a value that they say has changed is due at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from injector.backends.contract import Watching
from injector.errors import InjectorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.app.reconcile.values import ValueCache
    from injector.backends.registry import Registry
    from injector.model.references import Reference
    from injector.plan.planner import Account
    from injector.telemetry.logs import Log

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


class Pushes:
    """
    One watch for each account whose backend can watch, of what is in use of it.

    *pushed* is called with a reference whose value may have changed, or with all of an account when its watch was
    interrupted: what changed in between was not told.
    """

    def __init__(
        self, registry: Registry, cache: ValueCache, *, log: Log, pushed: Callable[[tuple[Reference, ...]], None]
    ) -> None:
        self._registry = registry
        self._cache = cache
        self._log = log
        self._pushed = pushed
        self._watches: dict[Account, tuple[tuple[Reference, ...], asyncio.Task[None]]] = {}

    def follow(self, account: Account) -> None:
        """Watches what is in use of *account*, of whom something was fetched; nothing to do when that is so already."""
        wanted = self._cache.references(account)
        references, task = self._watches.get(account, ((), None))
        if references == wanted and (task is None or not task.done()):
            return  # one that has ended could not watch then: it may be able to by now
        if task is not None:
            task.cancel()
        if wanted:
            self._watches[account] = (wanted, asyncio.create_task(self._watch(account, wanted)))
        else:
            self._watches.pop(account, None)

    async def close(self, *, grace: float) -> None:
        """Ends every watch."""
        tasks = [task for _, task in self._watches.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=grace)

    async def _watch(self, account: Account, references: tuple[Reference, ...]) -> None:
        failures = 0
        while True:
            try:
                backend = await self._registry.open(account.prefix, account.connection)
                if not isinstance(backend, Watching) or not backend.can_watch:
                    return
                if failures:
                    self._pushed(references)
                async for reference in backend.watch(references):
                    failures = 0
                    self._pushed((reference,))
            except InjectorError as error:
                self._log.info("watch ended", backend=account.prefix, reason=error.message)
            except Exception as error:  # noqa: BLE001  # a backend with a fault costs its pushes only
                self._log.warning("watch failed", backend=account.prefix, reason=type(error).__name__)
            failures += 1
            # A backend that ends its watches at once is no reason to ask it in a loop.
            await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10)))
