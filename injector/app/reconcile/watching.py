"""Watches the templates and the settings file of a sidecar."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from injector.app.sources import STDIN
from injector.output.staging import is_temporary
from injector.watch.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.app.reconcile.request import SidecarRequest
    from injector.telemetry.logs import Log
    from injector.telemetry.meter import Meter
    from injector.telemetry.vitals import Vitals
    from injector.watch.watcher import Change


async def watch(
    request: SidecarRequest,
    settings_path: Path | None,
    *,
    rescan: float,
    changed: Callable[[Change], None],
    settings_changed: Callable[[Change], None],
    log: Log,
    meter: Meter,
    vitals: Vitals,
) -> None:
    """Tells of changed templates, and of a changed settings file when there is one, until it is cancelled."""
    inputs = [Path(given) for given in request.inputs if given != STDIN]
    skip = [request.output_dir] if request.output_dir is not None else []
    common: dict[str, Any] = {"rescan": rescan, "log": log, "meter": meter, "vitals": vitals}
    watchers = [Watcher(inputs, changed, ignore=is_temporary, skip=skip, **common)]
    if settings_path is not None:
        watchers.append(Watcher([settings_path], settings_changed, name="watch settings", **common))
    async with asyncio.TaskGroup() as group:
        for watcher in watchers:
            group.create_task(watcher.run())
