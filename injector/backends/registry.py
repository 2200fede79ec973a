"""
Which backend answers for which prefix; opens each when it is first asked for, and closes all of them.

Prefixes are, in this order: the built-ins (they cannot be taken over by a file on a plugin path), then what the
plugin path and the installed packages have.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from injector.backends import discovery
from injector.backends.discovery import Kind
from injector.backends.verification import Verification
from injector.connections.connection import unknown
from injector.errors import ConnectionUnknown, InjectorError, InvalidReference
from injector.model.policy import AutoMtls

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from injector.backends.builtin.recorded import Recorded
    from injector.backends.contract import Backend
    from injector.backends.discovery import Candidate, SearchPath
    from injector.backends.goplugin.host import GoPluginBackend
    from injector.backends.goplugin.reattach import Attachment
    from injector.backends.goplugin.supervisor import SupervisedPlugin
    from injector.backends.goplugin.wiring import Wiring
    from injector.backends.plugin_status import PluginStatus
    from injector.backends.wasm.fates import Fates
    from injector.backends.wasm.host import WasmBackend
    from injector.connections.connection import Connection, ConnectionSource, ConnectionSummary
    from injector.telemetry.logs import Log

_Found = TypeVar("_Found", "Connection", "ConnectionSummary")

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
    reached, see `settings.schema.PluginSettings`. `connections` is where those of tokens are found (None: nowhere).
    WASM plugins get `wasm_memory` bytes each; compiled ones are kept in `wasm_cache`, a directory, or not at all when
    it is None.
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
    wasm_cache: Path | None = None
    wasm_memory: int = 64 * 1024 * 1024
    connections: ConnectionSource | None = None


class Registry:
    """
    Opens backends, at most one for each prefix, and owns them until `close`.

    A host is given a mapping with the connections that are in use for its prefix, by name. It is live: `open` puts
    another there, or one that has changed since. The host configures what it finds there before it asks.

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
        # By prefix and connection; a host of processes serves all connections of its prefix, under None.
        self._opening: dict[tuple[str, str | None], asyncio.Task[Backend]] = {}
        self._modules: dict[tuple[str, str | None], Connection] = {}  # the connections of WASM backends
        self._outdated: list[asyncio.Task[Backend]] = []
        self._in_use: dict[str, dict[str, Connection]] = {}
        self._plugins: list[SupervisedPlugin] = []
        self._fates: dict[str, Fates] = {}  # by the name of a WASM plugin, whatever its connections

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

        With *connection* it has that, as its source has it at this moment, before it is next asked. Whoever wants
        changes of a connection to count opens it again.

        Raises PluginError when there is none or it does not start; InvalidReference for a connection that is not
        there or is for another prefix, and what else its source raises.
        """
        own: Connection | None = None
        if connection is not None and self._options.recorded is None and prefix not in BUILTIN_PREFIXES:
            found = await asyncio.to_thread(self._load, prefix, connection)
            for secret in found.secrets.values():
                self._log.redactor.add(secret.reveal())
            self._in_use.setdefault(prefix, {})[connection] = found
            own = found if self._is_module(prefix) else None
        key = (prefix, connection if own is not None else None)
        task = self._opening.get(key)
        if own is not None and self._modules.get(key) != own:
            # It is configured with what the connection was: another instance of the backend has what it is.
            self._outdated += [task] if task is not None else []
            task, self._modules[key] = None, own
        if task is None or _has_failed(task):
            task = self._opening[key] = asyncio.create_task(self._start(prefix, own))
        # Shielded: the caller's deadline ends its wait, and the start is ended by `close`, which cleans up.
        return await asyncio.shield(task)

    def _is_module(self, prefix: str) -> bool:
        """Whether a WASM module answers for *prefix*: each of its connections has a backend of its own."""
        if prefix.lower() in self._options.attachments:
            return False
        try:
            return discovery.find(self._search, prefix).kind is Kind.WASM
        except InjectorError:
            return False  # the start says what is wrong

    def _load(self, prefix: str, name: str) -> Connection:
        return self._found(prefix, name, lambda source: source.load(name))

    def _found(self, prefix: str, name: str, look: Callable[[ConnectionSource], _Found]) -> _Found:
        source = self._options.connections
        if source is None:
            raise InvalidReference(f"there is no connection `{name}`: connections are not read here")
        try:
            found = look(source)
        except ConnectionUnknown as error:
            raise InvalidReference(error.message, hint=error.hint) from None
        if found.prefix != prefix:
            others = [each.name for each in source.summaries() if each.prefix == prefix]
            raise InvalidReference(
                f"the connection `{name}` is for {found.prefix}, and not for {prefix}",
                hint=f"for {prefix} there is {' and '.join(others[:5]) or 'none'}",
            )
        return found

    def check_connection(self, prefix: str, name: str) -> None:
        """
        Whether tokens of *prefix* can have the connection *name*, as far as that is known without opening its seal or
        starting a plugin. Blocks for as long as reading takes; with recorded values there is nothing to know.

        Raises what `open` raises for a connection that is not there or is for another prefix, InvalidReference for a
        built-in, which takes none, and what else the source of connections raises.
        """
        if self._options.recorded is not None:
            return
        if prefix in BUILTIN_PREFIXES:
            raise InvalidReference(f"{prefix} takes no connection", hint="remove connection=")
        self._found(prefix, name, lambda source: source.summary(name))

    def connection_prefixes(self, names: Collection[str]) -> dict[str, str]:
        """
        For which prefix each of the connections *names* is. Values that were recorded need no connections: those that
        they do not know are left out.

        Raises ConnectionUnknown, and what else their source raises. Blocks for as long as that takes.
        """
        recorded, source = self._options.recorded, self._options.connections
        if recorded is not None:
            known = {reference.connection: reference.prefix for reference in recorded.outcomes}
            return {name: known[name] for name in names if name in known}
        prefixes = {} if source is None else {each.name: each.prefix for each in source.summaries()}
        for name in names:
            if name not in prefixes:
                raise unknown(name, prefixes)
        return {name: prefixes[name] for name in names}

    def plugins(self) -> tuple[PluginStatus, ...]:
        """How each plugin that was asked for and came up fares: for a status page, or metrics."""
        modules = [fates for fates in list(self._fates.values()) if fates.is_loaded]
        return (*(plugin.status() for plugin in self._plugins), *(fates.status() for fates in modules))

    async def close(self) -> None:
        """Ends every backend and every start under way, side by side. May be called more than once."""
        tasks, self._opening = [*self._opening.values(), *self._outdated], {}
        for task in tasks:
            if not task.done():
                task.cancel()
        for fates in self._fates.values():
            fates.close()
        started = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(backend.close() for backend in started if not isinstance(backend, BaseException)))

    async def _start(self, prefix: str, connection: Connection | None = None) -> Backend:
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
            if candidate.kind is Kind.WASM:
                return await self._module(candidate, connection)
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
            connections=self._in_use.setdefault(candidate.prefix, {}),
        )

    async def _module(self, candidate: Candidate, connection: Connection | None) -> WasmBackend:
        from injector.backends.wasm.fates import Fates  # late: start-up
        from injector.backends.wasm.flavour import GuestConfiguration
        from injector.backends.wasm.instance import InstanceLimits
        from injector.backends.wasm.start import WasmOptions, start_wasm

        limits = InstanceLimits(memory=self._options.wasm_memory, answer=self._options.max_value_size)
        if connection is None:
            configuration = GuestConfiguration(
                candidate.name, settings=self._options.configuration.get(candidate.name, {})
            )
        else:
            configuration = GuestConfiguration(
                candidate.name, connection.id, connection.configuration(), connection.name
            )
        name = str(candidate)
        return await start_wasm(
            candidate,
            configuration=configuration,
            options=WasmOptions(self._options.wasm_cache, limits),
            environment=self._environment,
            log=self._log,
            fates=self._fates.setdefault(name, Fates(name)),
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
            connections=self._in_use.setdefault(prefix, {}),
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
