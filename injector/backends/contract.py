"""The one contract between `resolve` and everything that has values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from msgspec import Struct

from injector.errors import InjectorError
from injector.model.references import Reference, Value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

Outcome = Value | InjectorError
Answer = tuple[Reference, Outcome]


class RateLimit(Struct, frozen=True):
    """A token bucket: calls a second (above 0), and how many may go out at once after a pause (from 1)."""

    calls_per_second: float
    burst: int = 1


class Limits(Struct, frozen=True):
    """
    How a backend wants to be asked: references in one call, and calls at the same time.

    `rate` is that of its service when it is known beforehand; None leaves it to `resolve` to find one when throttled.
    """

    largest_batch: int = 1
    most_in_flight: int = 64
    rate: RateLimit | None = None


class Backend(Protocol):
    """Answers for one prefix. One object serves many concurrent calls on one event loop."""

    @property
    def name(self) -> str:
        """For messages: what it is and where it came from, e.g. `plugin demo (/plugins/demo/demo-linux-amd64)`."""
        ...

    @property
    def limits(self) -> Limits: ...

    def fetch(self, references: Sequence[Reference], *, timeout: float) -> AsyncIterator[Answer]:
        """
        Answers for `references` (at most `limits.largest_batch`), each once, in any order, as they come.

        *timeout* is in seconds from now. A reference's own failure is an answer (ResolutionError, or PluginError
        when the program failed). Raised errors (InjectorError) are of the whole call: they stand for every
        reference that was not answered yet. Cancelling the iteration cancels the call.
        """
        ...

    async def close(self) -> None:
        """Gives everything back: processes, sockets, files. May be called more than once. Never raises."""
        ...


@runtime_checkable
class Watching(Protocol):
    """What a backend offers beside `Backend` when it may know of changes before it is asked."""

    @property
    def can_watch(self) -> bool:
        """Whether it can watch at all; true of a class that can, it may be false of an object."""
        ...

    def watch(self, references: Sequence[Reference]) -> AsyncIterator[Reference]:
        """
        Each of *references* whose value may have changed, for as long as it is iterated.

        Ends when the backend ends it. Raises InjectorError when it fails.
        """
        ...


@runtime_checkable
class Releasing(Protocol):
    """What a backend offers beside `Backend` when it can take back leases before they end."""

    async def release(self, leases: Sequence[str], *, connection: str | None = None) -> None:
        """Gives back leases by their ids. Best effort: takes a second at most, never raises."""
        ...


@runtime_checkable
class HandsOver(Protocol):
    """What a backend offers beside `Releasing` when its leases may go to another process, or come from one."""

    def let_go(self, references: Sequence[Reference]) -> None:
        """The leases of *references* are another process's from now on: they are not given back at the end."""
        ...

    def take_over(self, leases: Mapping[Reference, str]) -> None:
        """These leases (ids) were another process's: from now on they are given back as its own are."""
        ...


@runtime_checkable
class TakesConnections(Protocol):
    """A backend that can be given a connection without being asked for a value: to find out whether it takes it."""

    async def connect(self, connection: str, *, timeout: float) -> None:  # noqa: ASYNC109
        """
        Configures it with the connection of this name, as its next call would. *timeout* is in seconds.

        Raises ResolutionError when it refuses the connection, another InjectorError when it fails.
        """
        ...
