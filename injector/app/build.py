"""The composition root: settings to objects, and one whole run from start to clean end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from injector.backends.discovery import SearchPath
from injector.backends.registry import HostOptions, Registry
from injector.backends.verification import Verification
from injector.errors import InjectorError
from injector.process.hardening import watch_loop
from injector.process.termination import was_noted
from injector.settings.options import REATTACH_VARIABLE
from injector.telemetry.redaction import scrub
from injector.telemetry.traces import make_tracer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from injector.app.rendering import RenderReport, RenderRequest
    from injector.backends.builtin.recorded import Recorded
    from injector.backends.contract import Outcome
    from injector.backends.discovery import Candidate
    from injector.backends.goplugin.reattach import Attachment
    from injector.model.references import Reference
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log


def search_path(settings: Settings, environment: Mapping[str, str]) -> SearchPath:
    """Where plugins are looked for. Raises PluginPathNotFound for a plugin path that does not exist."""
    home = environment.get("HOME")
    return SearchPath.from_environment(
        settings.plugin_path or None, environment, Path.cwd(), Path(home) if home else None
    )


def verification(settings: Settings) -> Verification:
    """Which plugin files may be run, and by which lock file."""
    return Verification.from_settings(settings.plugins.verify, settings.plugins.lock_file, Path.cwd())


def registry(
    settings: Settings,
    environment: Mapping[str, str],
    log: Log,
    *,
    lasting: bool = False,
    recorded: Recorded | None = None,
) -> Registry:
    """
    A registry for one run; whoever asks for it closes it.

    With *lasting* it is for a process that renders again and again: plugins are restarted however often they crash,
    and are asked now and then whether they are well. With *recorded* values come from there, and no plugin is started.

    Raises SettingsError for a variable INJECTOR_PLUGIN_REATTACH that is of no use.
    """
    plugins = settings.plugins
    unless_lasting = HostOptions()
    options = HostOptions(
        # Less than the run's own deadline, which began earlier: the plugin's error tells more than "the time is up".
        start_timeout=min(plugins.start_timeout, 0.75 * settings.timeout),
        max_value_size=plugins.max_value_size,
        pass_environment=plugins.pass_environment,
        file_root=settings.file_root,
        auto_mtls=plugins.auto_mtls,
        auto_mtls_for=plugins.auto_mtls_for,
        multiplex=plugins.multiplex,
        min_port=plugins.min_port,
        max_port=plugins.max_port,
        socket_group=plugins.socket_group,
        socket_directory=plugins.socket_directory,
        configuration=plugins.configuration,
        most_restarts=None if lasting else unless_lasting.most_restarts,
        health_interval=plugins.health_interval if lasting else unless_lasting.health_interval,
        verification=verification(settings),
        attachments=attachments(environment),
        recorded=recorded,
    )
    return Registry(search_path(settings, environment), options, environment=environment, log=log)


def attachments(environment: Mapping[str, str]) -> Mapping[str, Attachment]:
    """The plugins that run already, by their names in lower case. Raises SettingsError."""
    text = environment.get(REATTACH_VARIABLE)
    if not text:
        return {}
    from injector.backends.goplugin.reattach import parse_attachments  # late: for plugin authors only

    return parse_attachments(text)


def attached_candidates(settings: Settings, environment: Mapping[str, str]) -> tuple[Candidate, ...]:
    """The plugins that run already, by prefix: each goes before all that are found. Raises SettingsError."""
    found = attachments(environment)
    if not found:
        return ()
    from injector.backends.goplugin.reattach import attached_candidate  # late: for plugin authors only

    plugins = settings.plugins
    return tuple(
        attached_candidate(
            found[name],
            prefix=name.upper(),
            auto_mtls=plugins.auto_mtls_for.get(name, plugins.auto_mtls),
            multiplex=plugins.multiplex,
            is_pinned=verification(settings).is_demanded,
        )
        for name in sorted(found)
    )


async def render_once(
    request: RenderRequest,
    settings: Settings,
    *,
    environment: Mapping[str, str],
    log: Log,
    progress: Callable[[int, int], None] | None = None,
    recorded: Recorded | None = None,
    on_values: Callable[[Mapping[Reference, Outcome]], None] | None = None,
) -> RenderReport:
    """
    One pass with backends that live as long as it. SIGTERM ends the pass and the plugins, and is then obeyed.

    With *recorded* values come from there. *on_values* is given what the stores answered, before anything is written.

    Raises what `render` raises; asyncio.CancelledError after SIGTERM.
    """
    from injector.app.rendering import render  # late: `plugin list` renders nothing

    watch_loop(asyncio.get_running_loop(), log.error)
    tracer = make_tracer(environment, log)
    backends = registry(settings, environment, log, recorded=recorded)
    with cancelled_by_sigterm():
        try:
            return await render(
                request,
                settings,
                backends,
                environment=environment,
                log=log,
                progress=progress,
                on_values=on_values,
                tracer=tracer,
            )
        except InjectorError as error:
            scrub(error, log.redactor)
            raise
        finally:
            await backends.close()
            tracer.close()
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
    if was_noted():
        task.cancel()
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
