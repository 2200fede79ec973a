"""
What the kinds of WASM plugins have in common: how the host opens one and asks it.

A `Flavour` belongs to one backend: one plugin and one connection. It gives a `Guest`, which is configured already:
there is no other way to come by one, and each stands for a fresh instance that is used for one call batch and closed.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads the fields' types
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from injector.backends.contract import Answer, Limits
    from injector.backends.wasm.deadline import Deadline
    from injector.backends.wasm.instance import Instance
    from injector.model.references import Reference

AMBIENT = "ambient"
"""The ID of the connection of whoever names none: its settings are `plugins.configuration` of the plugin."""


class GuestConfiguration(Struct, frozen=True):
    """
    What every fresh instance is given: the settings and credentials of one connection of one plugin.

    `plugin` is the plugin's name in lower case, `connection` the connection's ID, `name` its name if it has one. Its
    text holds no setting.
    """

    plugin: str
    connection: str = AMBIENT
    settings: Mapping[str, Any] = {}
    name: str = ""

    @property
    def key(self) -> str:
        """`pluginID:conn-{connectionID}`, under which settings, policy and limits are looked up."""
        return f"{self.plugin}:conn-{self.connection}"

    @property
    def shown(self) -> str:
        """What people call it: the connection by its name, or the key where there is none."""
        return f"connection `{self.name}`" if self.name else self.key

    def __repr__(self) -> str:
        return f"GuestConfiguration({self.key})"

    __str__ = __repr__


class Guest(Protocol):
    """A configured instance. A context manager; used by one thread, for one batch."""

    @property
    def instance(self) -> Instance: ...

    def answers(self, references: Sequence[Reference]) -> Iterator[Answer]:
        """
        An answer for each of *references*, in any order.

        A raised InjectorError stands for all that were not answered yet, and the guest is used no more.
        """
        ...

    def call(self, export: str, data: bytes) -> bytes:
        """What the exported function gives for the input *data*. Raises InjectorError."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Flavour(Protocol):
    """One plugin with one connection."""

    @property
    def limits(self) -> Limits:
        """How it wants to be asked."""
        ...

    def open(self, deadline: Deadline) -> Guest:
        """
        A fresh instance, configured. *deadline* is that of its whole life.

        Raises InvalidConfiguration when it does not take its settings, or what `Instance` raises.
        """
        ...
