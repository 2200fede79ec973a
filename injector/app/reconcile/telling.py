"""Log lines about files that fail: one when it begins or becomes another failure, one when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from injector.app.status import FileState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from injector.app.reconcile.clock import Clock
    from injector.app.reconcile.files import ManagedFile
    from injector.errors import InjectorError
    from injector.telemetry.logs import Log

PAUSE = 10.0
"""Seconds between two lines about one file: what fails in turns is not told every time."""


class _Told(Struct, frozen=True):
    errors: tuple[InjectorError, ...]
    at: float
    since: float


class Teller:
    """Remembers what was told of each file."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._told: dict[str, _Told] = {}

    def tell(self, files: Iterable[ManagedFile]) -> None:
        """Tells what is new; to be called whenever something may be."""
        for file in files:
            told, errors = self._told.get(file.name), file.condition.errors
            if told is None and errors:
                self._failed(file, errors, self._clock.now())
            elif told is not None and told.errors is not errors:
                self._changed(file, told, errors)

    def _changed(self, file: ManagedFile, told: _Told, errors: tuple[InjectorError, ...]) -> None:
        now = self._clock.now()
        if not errors:
            del self._told[file.name]
            if file.condition.state is not FileState.REMOVED:
                self._log.info("recovered", template=file.name, after=round(now - told.since, 1))
        elif _texts(errors) != _texts(told.errors) and now >= told.at + PAUSE:
            self._failed(file, errors, told.since)

    def _failed(self, file: ManagedFile, errors: tuple[InjectorError, ...], since: float) -> None:
        is_stale = file.condition.state is FileState.STALE
        self._log.warning(
            "file is stale, the last good one stays" if is_stale else "file cannot be rendered",
            template=file.name,
            place=str(errors[0].place or file.name),
            code=errors[0].code,
            reason=errors[0].message,
            more=len(errors) - 1,
        )
        self._told[file.name] = _Told(errors, self._clock.now(), since)


def _texts(errors: tuple[InjectorError, ...]) -> list[tuple[str, str]]:
    return [(str(error.place), error.message) for error in errors]
