"""How a plugin fares, whatever kind it is of: for a status page, metrics and events."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class PluginState(StrEnum):
    """What a plugin is doing."""

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

    A WASM module has a fresh instance for every call batch: it is running, and was started once, when it is loaded;
    `crashes` are the instances that trapped or exited, `failed_starts` those that did not take their configuration.
    """

    name: str
    state: PluginState
    starts: int
    crashes: int
    failed_starts: int
    last_error: str | None
    started_at: float | None
    lost_at: float | None
