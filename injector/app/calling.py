"""Questions to plugins beside a render: for one value, and for how they want to be asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from injector.app.build import cancelled_by_sigterm, registry
from injector.errors import InjectorError, PluginAnswerInvalid
from injector.process.hardening import watch_loop
from injector.telemetry.redaction import scrub

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from injector.model.references import Reference, Value
    from injector.plan.planner import Account
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log


async def call_plugin(
    reference: Reference, settings: Settings, *, environment: Mapping[str, str], log: Log
) -> tuple[Value, str]:
    """
    The value of *reference*, asked once without a retry, and the backend's name for messages.

    The plugin lives for this call only. Raises what the backend answers or raises; asyncio.CancelledError after
    SIGTERM, with everything cleaned up.
    """
    watch_loop(asyncio.get_running_loop(), log.error)
    backends = registry(settings, environment, log)
    with cancelled_by_sigterm():
        try:
            backend = await backends.open(reference.prefix, reference.connection)
            async for _, outcome in backend.fetch([reference], timeout=settings.plugins.call_timeout):
                if isinstance(outcome, InjectorError):
                    raise outcome
                return outcome, backend.name
            raise PluginAnswerInvalid(f"{backend.name} gave no answer for {reference}")
        except InjectorError as error:
            scrub(error, log.redactor)
            raise
        finally:
            await backends.close()


async def largest_batches(
    accounts: Sequence[Account], settings: Settings, *, environment: Mapping[str, str], log: Log
) -> dict[Account, int]:
    """
    How many references each account's backend takes in one call. The plugins are started for it, and ended.

    An account whose backend does not start is left out, and the log says why.
    """
    import asyncio  # late: start-up

    sizes: dict[Account, int] = {}

    async def ask(account: Account) -> None:
        try:
            backend = await backends.open(account.prefix, account.connection)
        except InjectorError as error:
            log.info("not asked for the size of a batch", backend=account.prefix, reason=error.message)
        else:
            sizes[account] = backend.limits.largest_batch

    backends = registry(settings, environment, log)
    with cancelled_by_sigterm():
        try:
            await asyncio.gather(*map(ask, accounts))
        finally:
            await backends.close()
    return sizes
