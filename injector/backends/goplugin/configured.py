"""Which connections a plugin's process was given: each before its first call, in every process anew."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING

from injector.errors import InvalidConfiguration, InvalidReference, ResolutionError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from injector.connections.connection import Connection


class ConfiguredConnections:
    """
    The connections of one process. A call that needs one waits for `ensure`, so that none is forgotten.

    A connection that the plugin refuses costs its own references and no others'.

    Args:
        in_use: by name, as they are now; another object under a name is configured anew.
        configure: gives the plugin a connection, in so many seconds; ResolutionError when it does not take it.
        plugin: its name for messages.
    """

    def __init__(
        self,
        in_use: Mapping[str, Connection],
        configure: Callable[[Connection, float], Awaitable[None]],
        plugin: str,
    ) -> None:
        self._in_use = in_use
        self._configure = configure
        self._plugin = plugin
        self._given: dict[str, tuple[Connection, ResolutionError | None]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def ensure(self, name: str, *, deadline: float) -> None:
        """
        Returns when the plugin has the connection *name* as it is now. *deadline* is of the loop's clock.

        Raises ResolutionError when it refuses it, which is remembered, or InjectorError when the call fails.
        """
        async with self._locks.setdefault(name, asyncio.Lock()):
            wanted = self._in_use.get(name)
            if wanted is None:
                raise InvalidReference(f"{self._plugin} was not given the connection `{name}`")
            given, refusal = self._given.get(name, (None, None))
            if given != wanted:
                refusal = await self._give(wanted, deadline - asyncio.get_running_loop().time())
            if refusal is not None:
                raise copy.copy(refusal)  # each call's own: it gathers a traceback

    async def _give(self, connection: Connection, within: float) -> ResolutionError | None:
        # Until it has the new one, it has none: a call must not go out with credentials that were replaced.
        self._given.pop(connection.name, None)
        try:
            await self._configure(connection, max(0.0, within))
        except ResolutionError as error:
            refusal = type(error)(
                f"connection `{connection.name}`: {error.message}", hint=error.hint, retry_after=error.retry_after
            )
            if error.retryable:
                raise refusal from None
            self._given[connection.name] = (connection, refusal)
            return refusal
        self._given[connection.name] = (connection, None)
        return None


def no_connections(plugin: str, name: str) -> InvalidConfiguration:
    """The error for a plugin that can take none."""
    return InvalidConfiguration(
        f"{plugin} speaks protocol 1, which takes no connection, and `{name}` is asked for",
        hint="remove connection= to use the plugin's own credentials, or install a build that speaks protocol 2",
    )
