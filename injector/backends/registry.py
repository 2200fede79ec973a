"""
Which backend answers for which prefix; opens each when it is first asked for, and closes all of them.

Prefixes are, in this order: the built-ins (they cannot be taken over by a file on a plugin path), then what the
plugin path and the installed packages have.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from injector.backends import discovery
from injector.backends.verification import Verification
from injector.errors import InvalidReference
from injector.model.policy import AutoMtls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from injector.backends.builtin.recorded import Recorded
    from injector.backends.contract import Backend
    from injector.backends.discovery import Candidate, SearchPath
    from injector.backends.goplugin.host import GoPluginBackend
    from injector.backends.goplugin.reattach import Attachment
    from injector.backends.goplugin.supervision import PluginStatus
    from injector.backends.goplugin.supervisor import SupervisedPlugin
    from injector.backends.goplugin.wiring import Wiring
    from injector.telemetry.logs import Log

BUILTIN_PREFIXES = frozenset({"ENV", "FILE"})


class HostOptions(Struct, frozen=True):
    """
    How backends are run. `start_timeout` in seconds, `max_value_size` in bytes; `pass_environment` names variables
    that plugins get beside the usual ones; `file_root` bounds FILE://; `verification` says which files may be run,
    and `attachments` which plugins run already and are not started, by their names in lower case. With `recorded`,
    values come from there: no plugin is started, and ENV and FILE are read only if it has nothing for them.
    `configuration` has the settings of a plugin's ambient connection, by the plugin's name in lower case, and
    `auto_mtls_for` what goes before `auto_mtls` for a plugin, likewise. A plugin that
    crashes is restarted at most `most_restarts` times in a row (None: always), and asked every `health_interval`
    seconds whether it is well (None: never); the defaults are for a single run. The others are how plugins are
    reached, see `settings.schema.PluginSettings`.
    """

    start_timeout: float = 30.0
    max_value_size: int = 16 * 1024 * 1024
    pass_environment: tuple[str, ...] = ()
    file_root: Path | None = None
    auto_mtls: AutoMtls = AutoMtls.PREFER
    auto_mtls_for: Mapping[str, AutoMtls] = {}
    multiplex: bool = False
    min_port: int = 10_000
    max_port: int = 25_000
    socket_group: str = ""
    socket_directory: Path | None = None
    configuration: Mapping[str, Mapping[str, Any]] = {}
    most_restarts: int | None = 3
    health_interval: float | None = None
    verification: Verification = Verification()
    recorded: Recorded | None = None
    attachments: Mapping[str, Attachment] = {}


class Registry:
    """
    Opens backends, at most one for each account, and owns them until `close`.

    Args:
        search: where plugins are looked for.
        options: see HostOptions.
        environment: what ENV:// reads, and what plugins get an allow-listed part of.
        log: where the plugins' own log lines go.
    """

    def __init__(self, search: SearchPath, options: HostOptions, *, environment: Mapping[str, str], log: Log) -> None:
        self._search = search
        self._options = options
        self._environment = environment
        self._log = log
        self._opening: dict[tuple[str, str | None], asyncio.Task[Backend]] = {}
        self._plugins: list[SupervisedPlugin] = []

    def prefixes(self, candidates: frozenset[str]) -> frozenset[str]:
        """
        Every prefix that something installed answers for, as far as *candidates* need to be told apart.

        *candidates* are the words that stand before a separator in the templates. Asking the installed packages is
        dear, so it is done only when one of the words is not explained by what is known without.
        """
        known = (
            BUILTIN_PREFIXES | discovery.prefixes(self._search) | {name.upper() for name in self._options.attachments}
        )
        if self._options.recorded is not None:
            known |= {reference.prefix for reference in self._options.recorded.outcomes}
        if all(word.endswith(tuple(known)) for word in candidates):
            return known
        return known | discovery.distribution_prefixes()

    async def open(self, prefix: str, connection: str | None = None) -> Backend:
        """
        The backend for *prefix*, started if it was not yet; several callers share one start. One that failed is tried
        again by the next call.

        Raises PluginError when there is none or it does not start, InvalidReference for an unknown connection.
        """
        if connection is not None and self._options.recorded is None:
            raise InvalidReference(
                f"there is no connection `{connection}`",
                hint="leave connection= away to use the plugin's own credentials",
            )
        key = (prefix, connection)
        task = self._opening.get(key)
        if task is None or _has_failed(task):
            task = self._opening[key] = asyncio.create_task(self._start(prefix))
        # Shielded: the caller's deadline ends its wait, and the start is ended by `close`, which cleans up.
        return await asyncio.shield(task)

    def plugins(self) -> tuple[PluginStatus, ...]:
        """How each plugin that was asked for and came up fares: for a status page, or metrics."""
        return tuple(plugin.status() for plugin in self._plugins)

    async def close(self) -> None:
        """Ends every backend and every start under way, side by side. May be called more than once."""
        tasks, self._opening = list(self._opening.values()), {}
        for task in tasks:
            if not task.done():
                task.cancel()
        started = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(backend.close() for backend in started if not isinstance(backend, BaseException)))

    async def _start(self, prefix: str) -> Backend:
        builtin = self._builtins().get(prefix)
        recorded = self._options.recorded
        if recorded is not None and (builtin is None or recorded.answers_for(prefix)):
            from injector.backends.builtin.recorded import RecordedBackend  # late: only if used

            return RecordedBackend(recorded)
        if builtin is not None:
            return builtin()
        from injector.backends.goplugin.supervision import RestartPolicy  # late: start-up
        from injector.backends.goplugin.supervisor import SupervisedPlugin

        attachment = self._options.attachments.get(prefix.lower())
        policy = RestartPolicy(
            most_restarts=self._options.most_restarts,
            # A plugin that stands at a breakpoint is well.
            health_interval=self._options.health_interval if attachment is None else None,
        )
        if attachment is not None:
            name, start = f"plugin {prefix.lower()}", partial(self._reattached, prefix, attachment)
        else:
            candidate = discovery.find(self._search, prefix)
            candidate = self._options.verification.admit(candidate, self._search.platform)
            name, start = str(candidate), partial(self._instance, candidate)
        plugin = SupervisedPlugin(name, start, policy=policy, log=self._log)
        try:
            await plugin.ready()
        except BaseException:
            await plugin.close()
            raise
        self._plugins.append(plugin)
        return plugin

    async def _instance(self, candidate: Candidate) -> GoPluginBackend:
        from injector.backends.goplugin.start import start_plugin  # late: start-up

        return await start_plugin(
            candidate,
            log=self._log,
            start_timeout=self._options.start_timeout,
            environment=self._environment,
            extra_variables=self._options.pass_environment,
            max_value_bytes=self._options.max_value_size,
            wiring=self._wiring(candidate.name),
            configuration=self._options.configuration.get(candidate.name),
        )

    async def _reattached(self, prefix: str, attachment: Attachment) -> GoPluginBackend:
        from injector.backends.goplugin.reattach import reattach  # late: start-up

        return await reattach(
            attachment,
            prefix=prefix,
            log=self._log,
            start_timeout=self._options.start_timeout,
            environment=self._environment,
            max_value_bytes=self._options.max_value_size,
            wiring=self._wiring(prefix.lower()),
            is_pinned=self._options.verification.is_demanded,
            configuration=self._options.configuration.get(prefix.lower()),
        )

    def _wiring(self, name: str) -> Wiring:
        from injector.backends.goplugin.wiring import Wiring  # late: start-up

        options = self._options
        asked = {field: getattr(options, field) for field in Wiring.__struct_fields__}
        return Wiring(**asked | {"auto_mtls": options.auto_mtls_for.get(name, options.auto_mtls)})

    def _builtins(self) -> dict[str, Callable[[], Backend]]:
        def environment() -> Backend:
            from injector.backends.builtin.environment import EnvironmentBackend  # late: only if used

            return EnvironmentBackend(self._environment)

        def file() -> Backend:
            from injector.backends.builtin.file import FileBackend  # late: only if used

            return FileBackend(root=self._options.file_root, max_value_bytes=self._options.max_value_size)

        return {"ENV": environment, "FILE": file}


def _has_failed(task: asyncio.Task[Backend]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
