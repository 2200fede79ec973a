"""What the supervisor of a plugin takes and tells: the instance that it watches, its policy, and its status."""

from __future__ import annotations

from enum import StrEnum
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


class PluginState(StrEnum):
    """What a supervised plugin is doing."""

    IDLE = "idle"
    STARTING = "starting"
    RUNNING = "running"
    LOST = "lost"
    GIVEN_UP = "given-up"
    CLOSED = "closed"


class PluginStatus(Struct, frozen=True):
    """
    A snapshot for a status page or metrics; it holds no value and nothing that the plugin wrote but its last words.

    `starts` counts the instances that came up, `crashes` those that were lost, `failed_starts` those that did not come
    up. Times are seconds since the epoch, None when it never happened.
    """

    name: str
    state: PluginState
    starts: int
    crashes: int
    failed_starts: int
    last_error: str | None
    started_at: float | None
    lost_at: float | None
