"""The values of a plan, by the settings of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.telemetry.traces import NO_TRACES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from injector.backends.contract import Backend, Outcome
    from injector.backends.registry import Registry
    from injector.model.references import Reference
    from injector.plan.planner import Account, Plan
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log
    from injector.telemetry.traces import Tracer


async def values_of(
    plan: Plan,
    settings: Settings,
    registry: Registry,
    *,
    log: Log,
    progress: Callable[[int, int], None] | None = None,
    tracer: Tracer = NO_TRACES,
) -> Mapping[Reference, Outcome]:
    """What the stores answer to *plan*, within the run's limits: a value or an error for each reference."""
    from injector.resolve.resolver import Limits, resolve  # late: a template without tokens needs no event loop

    async def open_backend(account: Account) -> Backend:
        return await registry.open(account.prefix, account.connection)

    limits = Limits(
        deadline=settings.timeout, call_timeout=settings.plugins.call_timeout, concurrency=settings.concurrency
    )
    return await resolve(plan, open_backend, limits=limits, log=log, progress=progress, tracer=tracer)
