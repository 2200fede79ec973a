"""One pass of a command that people wait for: with progress on a terminal, and ended by SIGTERM."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from injector.process.termination import only_noted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from injector.app.rendering import RenderReport, RenderRequest
    from injector.backends.builtin.recorded import Recorded
    from injector.backends.contract import Outcome
    from injector.model.references import Reference
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log


def one_pass(
    request: RenderRequest,
    settings: Settings,
    log: Log,
    *,
    recorded: Recorded | None,
    quiet: bool,
    on_values: Callable[[Mapping[Reference, Outcome]], None] | None = None,
) -> RenderReport | None:
    """
    What the pass did; None after SIGTERM, when everything is cleaned up. Raises what `app.build.render_once` raises.

    *recorded* are values in the stores' stead, *on_values* is given what was answered; *quiet* shows no progress.
    """
    import asyncio  # late: `injector --help` needs no event loop

    from injector.app.build import render_once  # late: start-up
    from injector.cli.terminal import Progress

    with Progress("resolving", sys.stderr) as progress:
        run = render_once(
            request,
            settings,
            environment=os.environ,
            log=log,
            progress=None if quiet else progress,
            recorded=recorded,
            on_values=on_values,
        )
        try:
            with only_noted():
                return asyncio.run(run)
        except asyncio.CancelledError:
            return None
