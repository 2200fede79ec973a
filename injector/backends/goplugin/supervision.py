"""What the supervisor of a plugin takes: the instance that it watches, and its policy."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from injector.backends.contract import Backend


class PluginInstance(Backend, Protocol):
    """What is supervised: a backend that is one process, and ends with it."""

    @property
    def loss(self) -> str | None:
        """Why it is of no use any more, after its name in a message; None while process and connection stand."""
        ...

    async def check_health(self, *, within: float) -> bool:
        """Whether it says in *within* seconds that it is well. Never raises."""
        ...


class RestartPolicy(Struct, frozen=True):
    """
    How a plugin is brought back. All times in seconds.

    The first restart is immediate. The pause before the n-th after it is drawn evenly from 0 to
    `first_pause` * 2 ** (n - 1), at most `longest_pause`. An instance that lived for `healthy_after` ends the row, and
    the next loss counts as the first again. After `most_restarts` in a row it is given up; None never gives up.

    Every `health_interval` the plugin is asked whether it is well and has `health_timeout` to say so (None: never
    asked). After `most_misses` in a row it is killed and restarted.
    """

    first_pause: float = 0.5
    longest_pause: float = 30.0
    healthy_after: float = 60.0
    most_restarts: int | None = None
    health_interval: float | None = None
    health_timeout: float = 5.0
    most_misses: int = 2
