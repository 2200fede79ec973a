"""The sidecar as a whole."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING

from injector.app.reconcile.request import RefreshSummary
from injector.app.status import SidecarStatus

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from injector.app.reconcile.clock import Clock
    from injector.app.reconcile.request import SidecarRequest, Sink
    from injector.backends.registry import Registry
    from injector.errors import InjectorError
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log
    from injector.telemetry.meter import Meter
    from injector.telemetry.vitals import Vitals


class Sidecar:
    """
    Keeps the outputs of a request what they should be, until it is cancelled.

    Args:
        request: which templates, and where their results go.
        settings: those to begin with.
        registry: opens the backends; whoever made it closes it, after `run` has ended.
        environment: for `envsubst`.
        log, meter, vitals: told of what happens; `vitals` has "engine" and each worker while it has work.
        sink: where results go.
        on_published: called with (template, output, sha256 of the content in hex) in the event loop, for each output
            whose content has changed.
        settings_path, load_settings: the settings file, which is watched, and what loads all settings anew; it runs in
            a thread and raises InjectorError when they cannot be used. None: the settings stay as they are.
        watch: whether templates and settings file are watched; without, `look` and the rescan say when to look.
        clock: time; another one in tests.

    `started` is set once every required file was rendered, `first_pass` is done when every value was asked for once
    and every file that could be rendered was published; both whether or not there were errors.
    """

    started: asyncio.Event
    first_pass: concurrent.futures.Future[RefreshSummary]

    def __init__(
        self,
        request: SidecarRequest,
        settings: Settings,
        registry: Registry,
        *,
        environment: Mapping[str, str],
        log: Log,
        meter: Meter,
        vitals: Vitals,
        sink: Sink,
        on_published: Callable[[str, str, str], None] | None = None,
        settings_path: Path | None = None,
        load_settings: Callable[[], Settings] | None = None,
        watch: bool = True,
        clock: Clock | None = None,
    ) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        """
        Works until it is cancelled, and then ends within a second: a write under way is finished, or left to the
        process's end, which abandons it whole.

        Raises UsageError when the request cannot be met whatever happens: several templates for one output.
        """

    def refresh(self, reason: str) -> concurrent.futures.Future[RefreshSummary]:
        """
        Asks for every value again, and looks at every template and output again. From any thread, also before `run`.

        The future is done when all of it is complete; it is cancelled when the sidecar ends before. *reason* is
        `refresh`, `signal` or another word for `Meter.watched`.
        """
        raise NotImplementedError

    async def refreshed(self, reason: str) -> RefreshSummary:
        """`refresh`, waited for."""
        raise NotImplementedError

    def look(self, *, settled: bool = True) -> None:
        """Templates may have changed; unless *settled*, they are looked at when they are quiet. From any thread."""

    def status(self) -> SidecarStatus:
        """How everything is now. From any thread."""
        raise NotImplementedError

    def errors(self) -> tuple[InjectorError, ...]:
        """What is wrong now, each with its place where it has one: for RunFailed, and so an exit code."""
        raise NotImplementedError
