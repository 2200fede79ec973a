"""What `injector ui` shows: a sidecar behind its control socket, and the user's connections."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from injector.app.connecting import open_store, tested_connection
from injector.app.serving.client import ask_control
from injector.errors import InjectorError, NoAnswer
from injector.telemetry.logs import Log

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from injector.connections.connection import ConnectionSource
    from injector.connections.store import ConnectionStore
    from injector.model.secret import Secret
    from injector.settings.schema import Settings

STATUS_TIME: Final = 5.0
REFRESH_TIME: Final = 120.0


class SidecarAtSocket:
    """The sidecar of the socket *control*. Both methods raise what `ask_control` does."""

    def __init__(self, control: Path) -> None:
        self.control = control

    def status(self) -> dict[str, Any]:
        """Its `/status`, in `STATUS_TIME` seconds. Raises NoAnswer also for one of something else."""
        status = ask_control(self.control, "/status", method="GET", timeout=STATUS_TIME)
        if not isinstance(status.get("files"), list) or "ready" not in status:
            raise NoAnswer(f"what answers on {self.control} is no injector", hint="correct --control")
        return status

    def refresh(self) -> dict[str, Any]:
        """The summary of one pass, in `REFRESH_TIME` seconds."""
        return ask_control(self.control, "/refresh", method="POST", timeout=REFRESH_TIME)


class UserConnections:
    """
    The connections of *settings*: the user's store, or the mounted Secrets, which are read only. What programs get of a
    connection (docs/output-format.md) is given; no secret is.
    """

    def __init__(self, settings: Settings, environment: Mapping[str, str], log: Log) -> None:
        self._settings = settings
        self._environment = environment
        self._log = log

    @property
    def where(self) -> str | None:
        """The store's file or the directory; None when there is no place for a store."""
        directory = self._settings.connections.directory
        if directory is not None:
            return str(directory)
        try:
            return str(self._store().path)
        except InjectorError:
            return None

    @property
    def refusal(self) -> str | None:
        """Why nothing can be added and removed."""
        try:
            path = self._store().path
        except InjectorError as error:
            return error.message
        while not path.exists() and path != path.parent:
            path = path.parent
        return None if os.access(path, os.W_OK) else f"{path} may not be written"

    def all(self) -> list[dict[str, Any]]:
        """Every connection by name."""
        if self.where is None:
            return []
        return [each.document() for each in self._source().summaries()]

    def show(self, name: str) -> dict[str, Any]:
        """The connection *name*, opened with the master key. Raises ConnectionUnknown, SealBroken."""
        return self._source().load(name).summary().document()

    def prefixes(self) -> list[dict[str, str]]:
        """Prefix and name of every plugin that would be started for it. No plugin is started."""
        from injector.app.build import attached_candidates, search_path  # late: start-up
        from injector.backends.discovery import discover
        from injector.backends.registry import BUILTIN_PREFIXES

        candidates = [
            *attached_candidates(self._settings, self._environment),
            *discover(search_path(self._settings, self._environment)),
        ]
        used = {each.prefix: each.name for each in candidates if each.loses_to is None and each.refusal is None}
        return [{"prefix": prefix, "plugin": used[prefix]} for prefix in sorted(used.keys() - BUILTIN_PREFIXES)]

    def add(self, name: str, prefix: str, settings: Mapping[str, Any], secrets: Mapping[str, Secret]) -> dict[str, Any]:
        """Adds a connection. Raises what `ConnectionStore.add` does, and ConnectionInvalid when all are read only."""
        return self._store().add(name, prefix, settings, secrets).document()

    def remove(self, name: str) -> None:
        """Removes a connection. Raises ConnectionUnknown, and ConnectionInvalid when all are read only."""
        self._store().remove(name)

    async def test(self, name: str, path: str | None) -> dict[str, Any]:
        """
        Gives the connection to its plugin, and asks for the value of *path* if that is not None. Raises what
        `tested_connection` does, ConnectionUnknown.
        """
        log = Log(self._log.level, as_json=self._settings.log_format == "json")  # knows the values of this test only
        tested = await tested_connection(name, path, self._settings, environment=self._environment, log=log)
        return {"backend": tested.backend, "valueBytes": tested.value_size}

    def _store(self) -> ConnectionStore:
        return open_store(self._settings.connections, self._environment)

    def _source(self) -> ConnectionSource:
        from injector.app.build import connection_source  # late: start-up

        return connection_source(self._settings, self._environment)
