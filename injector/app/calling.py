"""One question to one plugin, for its author and for whoever looks for a fault."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from injector.app.build import cancelled_by_sigterm, registry
from injector.errors import InjectorError, PluginAnswerInvalid
from injector.process.hardening import watch_loop
from injector.telemetry.redaction import scrub

if TYPE_CHECKING:
    from collections.abc import Mapping

    from injector.model.references import Reference, Value
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
