"""A sidecar over real backends, outputs and watches, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections import Counter
from typing import TYPE_CHECKING, Any

from injector.app.build import registry
from injector.app.reconcile.engine import Sidecar
from injector.app.reconcile.request import SidecarRequest
from injector.app.reconcile.sinks import FileSink
from injector.telemetry.logs import Level, Log
from injector.telemetry.meter import Meter
from injector.telemetry.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from injector.app.status import FileState
    from injector.settings.schema import Settings


class Running:
    """A sidecar that runs, with what it told."""

    def __init__(self, sidecar: Sidecar, vitals: Vitals, lines: io.StringIO) -> None:
        self.sidecar = sidecar
        self.vitals = vitals
        self.lines = lines
        self.published: Counter[str] = Counter()


@contextlib.asynccontextmanager
async def running(
    inputs: tuple[Path, ...],
    out: Path,
    settings: Settings,
    *,
    environment: dict[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[Running]:
    lines = io.StringIO()
    log = Log(Level.INFO, stream=lines)
    environment = environment or {}
    backends = registry(settings, environment, log, lasting=True)
    vitals = Vitals()
    published: Counter[str] = Counter()
    sidecar = Sidecar(
        SidecarRequest(tuple(map(str, inputs)), output_dir=out),
        settings,
        backends,
        environment=environment,
        log=log,
        meter=Meter(),
        vitals=vitals,
        sink=FileSink(),
        on_published=lambda template, *_: published.update([template.rpartition("/")[2]]),
        **options,
    )
    task = asyncio.create_task(sidecar.run())
    running = Running(sidecar, vitals, lines)
    running.published = published
    try:
        yield running
        assert not task.done(), task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await backends.close()


def content(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def state(running: Running, name: str) -> FileState | None:
    found = (file for file in running.sidecar.status().files if file.template.endswith(f"/{name}"))
    return next((file.state for file in found), None)
