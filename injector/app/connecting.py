"""Connections in a run: where the user's are, and which one a token has that names none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from injector.backends.contract import TakesConnections
from injector.errors import (
    ConnectionInvalid,
    InjectorError,
    InvalidConfiguration,
    PluginAnswerInvalid,
    SettingsError,
)
from injector.model.references import Reference
from injector.model.template import Token
from injector.telemetry.redaction import scrub

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from injector.backends.contract import Backend
    from injector.backends.registry import Registry
    from injector.connections.connection import Connection, ConnectionSummary
    from injector.connections.store import ConnectionStore
    from injector.model.template import Piece, Template
    from injector.settings.schema import ConnectionSettings, Settings
    from injector.telemetry.logs import Log


def open_store(settings: ConnectionSettings, environment: Mapping[str, str]) -> ConnectionStore:
    """
    The store of *settings*, or the user's: below XDG_DATA_HOME and, for the key, XDG_CONFIG_HOME.

    Nothing is opened yet. Raises SettingsError when there is no home and no setting, ConnectionInvalid when
    connections are mounted and so nothing may be changed.
    """
    from injector.connections.store import ConnectionStore  # late: start-up, SQLite

    if settings.directory is not None:
        raise ConnectionInvalid(
            f"connections come from {settings.directory}, and are read only",
            hint="change the Secrets that are mounted there, or leave connections.directory away",
        )
    store = settings.store or _home(environment, "XDG_DATA_HOME", ".local/share") / "connections.db"
    key = settings.master_key_file or _home(environment, "XDG_CONFIG_HOME", ".config") / "master.key"
    return ConnectionStore(store, key)


def _home(environment: Mapping[str, str], variable: str, usual: str) -> Path:
    # Relative paths are to be ignored: XDG Base Directory Specification.
    base = Path(environment.get(variable, ""))
    if not base.is_absolute():
        base = Path(environment.get("HOME", "")) / usual
    if not base.is_absolute():
        raise SettingsError(
            "there is no HOME, and so no place for connections",
            hint="set connections.store and connections.masterKeyFile, or connections.directory",
        )
    return base / "injector"


class UserStore:
    """The store of `open_store`, opened when a connection is first asked for. Implements ConnectionSource."""

    def __init__(self, settings: ConnectionSettings, environment: Mapping[str, str]) -> None:
        self._settings = settings
        self._environment = environment

    def summaries(self) -> tuple[ConnectionSummary, ...]:
        """See ConnectionSource."""
        return open_store(self._settings, self._environment).summaries()

    def summary(self, name: str) -> ConnectionSummary:
        """See ConnectionSource."""
        return open_store(self._settings, self._environment).summary(name)

    def load(self, name: str) -> Connection:
        """See ConnectionSource."""
        return open_store(self._settings, self._environment).load(name)


def with_default_connections(
    templates: Sequence[Template], settings: Settings, registry: Registry
) -> tuple[Template, ...]:
    """
    *templates* with the connections that the settings give to tokens which name none: of those that hold for the
    template, the one for the token's prefix.

    Raises ConnectionUnknown, SettingsError for two of one prefix, and what reading connections raises.
    """
    defaults = {template.source.name: settings.for_file(template.source.name).connection for template in templates}
    names = {name for connections in defaults.values() for name in connections}
    if not names:
        return tuple(templates)
    prefixes = registry.connection_prefixes(sorted(names))
    return tuple(
        _with_defaults(template, _by_prefix(defaults[template.source.name], prefixes)) for template in templates
    )


def _by_prefix(names: Sequence[str], prefixes: Mapping[str, str]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for name in names:
        if name in prefixes and chosen.setdefault(prefixes[name], name) != name:
            raise SettingsError(
                f"the connections `{chosen[prefixes[name]]}` and `{name}` are both for {prefixes[name]}",
                hint="the setting `connection` has one for each prefix",
            )
    return chosen


def _with_defaults(template: Template, by_prefix: Mapping[str, str]) -> Template:
    return replace(template, pieces=tuple(_with_default(piece, by_prefix) for piece in template.pieces))


def _with_default(piece: Piece, by_prefix: Mapping[str, str]) -> Piece:
    if not isinstance(piece, Token) or piece.reference.connection is not None:
        return piece
    connection = by_prefix.get(piece.reference.prefix)
    return replace(piece, reference=piece.reference._replace(connection=connection)) if connection else piece


class Tested(Struct, frozen=True):
    """What a test found: the backend's name for messages, and the size of the value in bytes if one was asked for."""

    backend: str
    value_size: int | None


async def try_connection(
    name: str, path: str | None, settings: Settings, *, environment: Mapping[str, str], log: Log
) -> Tested:
    """
    As `tested_connection`, in a run of its own: SIGTERM ends it.

    Raises asyncio.CancelledError after SIGTERM, with everything cleaned up.
    """
    from injector.app.build import cancelled_by_sigterm  # late: build imports the renderer, which imports us

    with cancelled_by_sigterm():
        return await tested_connection(name, path, settings, environment=environment, log=log)


async def tested_connection(
    name: str, path: str | None, settings: Settings, *, environment: Mapping[str, str], log: Log
) -> Tested:
    """
    Starts the plugin of the connection *name* and gives it the connection; with *path*, asks for one value as well.
    Afterwards the redactor of *log* knows no value any more.

    Raises what the plugin answers, without a value that was known; InvalidReference for an unknown connection.
    """
    from injector.app.build import registry  # late: build imports the renderer, which imports us

    backends = registry(settings, environment, log)
    try:
        prefix = (await asyncio.to_thread(backends.connection_prefixes, [name]))[name]
        backend = await backends.open(prefix, name)
        if not isinstance(backend, TakesConnections):
            raise InvalidConfiguration(f"{backend.name} takes no connections", hint="remove the connection")
        timeout = settings.plugins.call_timeout
        await backend.connect(name, timeout=timeout)
        size = None
        if path is not None:
            size = await _size(backend, Reference(prefix, path, connection=name), timeout=timeout)
        return Tested(backend.name, size)
    except InjectorError as error:
        scrub(error, log.redactor)
        raise
    finally:
        await backends.close()
        log.redactor.clear()


async def _size(backend: Backend, reference: Reference, *, timeout: float) -> int:  # noqa: ASYNC109
    async for _, outcome in backend.fetch([reference], timeout=timeout):
        if isinstance(outcome, InjectorError):
            raise outcome
        return len(outcome.data)
    raise PluginAnswerInvalid(f"{backend.name} gave no answer for {reference}")
