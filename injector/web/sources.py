"""What the page is about, as whoever wires it hands it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from injector.model.secret import Secret


class SidecarSource(Protocol):
    """A running sidecar. Both methods block, and are called on threads of their own."""

    @property
    def control(self) -> Path:
        """Its control socket."""
        ...

    def status(self) -> Mapping[str, Any]:
        """
        The document of `/status` (docs/output-format.md). Raises InjectorError when there is no answer in a few
        seconds; a sidecar that came back with a new token is found again by the next call.
        """
        ...

    def refresh(self) -> Mapping[str, Any]:
        """Makes one pass and gives its summary. Raises InjectorError."""
        ...


class ConnectionsSource(Protocol):
    """
    The user's connections. Documents are those of `injector connection … --format json`, and hold no secret. All but
    `test` block, and are called on threads of their own; they raise InjectorError.
    """

    @property
    def where(self) -> str | None:
        """The store's file, or the directory of mounted Secrets; None when there is no place for a store."""
        ...

    @property
    def refusal(self) -> str | None:
        """Why nothing can be added and removed; None when it can."""
        ...

    def all(self) -> Sequence[Mapping[str, Any]]:
        """Every connection by name; no seal is opened."""
        ...

    def show(self, name: str) -> Mapping[str, Any]:
        """The connection *name*, opened with the master key."""
        ...

    def prefixes(self) -> Sequence[Mapping[str, str]]:
        """`prefix` and `plugin` of every plugin that could take a connection."""
        ...

    def add(
        self, name: str, prefix: str, settings: Mapping[str, Any], secrets: Mapping[str, Secret]
    ) -> Mapping[str, Any]:
        """Adds a connection, and gives what was added."""
        ...

    def remove(self, name: str) -> None:
        """Removes the connection *name*."""
        ...

    async def test(self, name: str, path: str | None) -> Mapping[str, Any]:
        """Gives the connection to its plugin; with *path*, asks for one value as well. Raises InjectorError."""
        ...
