"""How a notification stands: `notify` tells it, `/status` and `injector ui` show it."""

from __future__ import annotations

from msgspec import Struct


class NotificationStatus(Struct, frozen=True):
    """
    One notification: `name` as in the settings, `kind` is `signal`, `exec`, `http` or `rollout`.

    `last_at` is when it last succeeded, in seconds since the epoch (None: never). `failures` counts those in a row,
    `error` is the message of the last one. `waiting`: there are changes that it has not told yet.
    """

    name: str
    kind: str
    last_at: float | None = None
    failures: int = 0
    error: str | None = None
    waiting: bool = False
