"""New settings while the sidecar runs: which of them are taken, which wait for the next start, which are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from injector.errors import InjectorError, RunFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from injector.app.reconcile.worker import Worker
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log
    from injector.telemetry.meter import Meter

FIXED = (
    "inputs",
    "output",
    "output_dir",
    "listen",
    "control",
    "plugin_path",
    "file_root",
    "plugins",
    "log_level",
    "log_format",
)
"""What the request, sockets, plugins and the log were made of at the start."""


class Reloading:
    """
    The settings that hold, and what becomes of new ones, which *load* reads in a worker's thread.

    *taken* is called in the event loop with (those before, those that hold) after they were changed.
    """

    def __init__(
        self,
        settings: Settings,
        path: Path | None,
        load: Callable[[], Settings] | None,
        worker: Worker,
        *,
        log: Log,
        meter: Meter,
        taken: Callable[[Settings, Settings], None],
    ) -> None:
        self.settings = settings
        self.is_wanted = False
        self.is_under_way = False
        self.error: InjectorError | None = None  # why the file's settings do not hold
        self._path = path
        self._load = load
        self._worker = worker
        self._log = log
        self._meter = meter
        self._taken = taken

    def want(self) -> None:
        """The file may have changed: it is read in the next pass."""
        self.is_wanted = self._load is not None

    async def reload(self) -> None:
        """Reads the file once, and takes what can be taken."""
        assert self._load is not None
        self.is_under_way, self.is_wanted = True, False
        try:
            loaded = await self._worker.call(self._load)
        except InjectorError as error:
            self._refuse(error)
        else:
            self._take(loaded)
        finally:
            self.is_under_way = False

    def _refuse(self, error: InjectorError) -> None:
        first = error.errors[0] if isinstance(error, RunFailed) else error
        if self.error is None or self.error.message != first.message:
            place = str(first.place) if first.place else str(self._path or "")
            self._log.error("settings refused, the running ones stay", place=place, reason=first.message)
        self.error = first
        self._meter.reloaded("failed")

    def _take(self, loaded: Settings) -> None:
        self.error = None
        self._meter.reloaded("ok")
        settings, kept = merged(self.settings, loaded)
        if kept:
            self._log.warning("settings that wait for the next start", settings=", ".join(kept))
        if settings == self.settings:
            return
        before, self.settings = self.settings, settings
        self._taken(before, settings)
        self._log.info("settings reloaded")


def merged(running: Settings, loaded: Settings) -> tuple[Settings, tuple[str, ...]]:
    """*loaded* with what cannot change kept as it is in *running*, and the names of what was to change all the same."""
    kept = tuple(name for name in FIXED if getattr(running, name) != getattr(loaded, name))
    return replace(loaded, **{name: getattr(running, name) for name in kept}), kept
