"""The composition root: settings to objects, and one whole run from start to clean end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from injector.backends.discovery import SearchPath
from injector.backends.registry import HostOptions, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from injector.app.rendering import RenderReport, RenderRequest
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log


def search_path(settings: Settings, environment: Mapping[str, str]) -> SearchPath:
    """Where plugins are looked for. Raises PluginPathNotFound for a plugin path that does not exist."""
    home = environment.get("HOME")
    return SearchPath.from_environment(
        settings.plugin_path or None, environment, Path.cwd(), Path(home) if home else None
    )


def registry(settings: Settings, environment: Mapping[str, str], log: Log) -> Registry:
    """A registry for one run; whoever asks for it closes it."""
    options = HostOptions(
        start_timeout=settings.plugins.start_timeout,
        max_value_size=settings.plugins.max_value_size,
        pass_environment=settings.plugins.pass_environment,
        file_root=settings.file_root,
    )
    return Registry(search_path(settings, environment), options, environment=environment, log=log)


async def render_once(
    request: RenderRequest,
    settings: Settings,
    *,
    environment: Mapping[str, str],
    log: Log,
    progress: Callable[[int, int], None] | None = None,
) -> RenderReport:
    """
    One pass with backends that live as long as it. SIGTERM ends the pass and the plugins, and is then obeyed.

    Raises what `render` raises; asyncio.CancelledError after SIGTERM.
    """
    from injector.app.rendering import render  # late: `plugin list` renders nothing

    backends = registry(settings, environment, log)
    with cancelled_by_sigterm():
        try:
            return await render(request, settings, backends, environment=environment, log=log, progress=progress)
        finally:
            await backends.close()
            log.redactor.clear()


@contextlib.contextmanager
def cancelled_by_sigterm() -> Iterator[None]:
    """For the time of the context SIGTERM cancels the current task, which then cleans up."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    except (NotImplementedError, RuntimeError, ValueError):  # no signals here: Windows, or not the main thread
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
