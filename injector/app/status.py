"""
What a sidecar tells of itself: one snapshot for `/status`, `/readyz`, `/metrics` and `injector ui`.

No value and no token's text is in it. Times are seconds since the epoch (None: never), ages are seconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.model.notification import NotificationStatus as NotificationStatus  # noqa: TC001, PLC0414  # a part of it

if TYPE_CHECKING:
    from injector.backends.plugin_status import PluginStatus


class FileState(StrEnum):
    """
    pending: not rendered yet · ready: what is published is what should be · stale: the last good file stands, newer
    values or a newer template could not be rendered · failed: there is no good file, or `on_error: fail` says so ·
    removed: the template is gone.
    """

    PENDING = "pending"
    READY = "ready"
    STALE = "stale"
    FAILED = "failed"
    REMOVED = "removed"


class TokenStatus(Struct, frozen=True):
    """
    One reference of a file. `id` is the first 12 hex digits of a hash of it, `backend` its prefix.

    `age` is how long ago the value in use was fetched, `next_refresh` when it is asked for again.
    """

    id: str
    backend: str
    version: str | None = None
    age: float | None = None
    next_refresh: float | None = None
    error: str | None = None


class FileStatus(Struct, frozen=True):
    """
    One template and its output. `error` is the message of what is wrong now, with its place, None when nothing is;
    `error_code` is the code of that error.

    `stale_since` is set while the state is stale; `too_stale` says that `max_stale` is over.
    """

    template: str
    output: str
    state: FileState
    required: bool = True
    rendered_at: float | None = None
    changed_at: float | None = None
    stale_since: float | None = None
    too_stale: bool = False
    error: str | None = None
    error_code: str | None = None
    tokens: tuple[TokenStatus, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether the process may say that it is ready, as far as this file goes."""
        if not self.required or self.state in (FileState.READY, FileState.REMOVED):
            return True
        return self.state is FileState.STALE and not self.too_stale


class SidecarStatus(Struct, frozen=True):
    """
    The whole. `started` is true once every required file was rendered for the first time, and stays so.

    `settings_error` is what is wrong with a newer settings file that is not in use for it.
    """

    started: bool
    files: tuple[FileStatus, ...] = ()
    plugins: tuple[PluginStatus, ...] = ()
    notifications: tuple[NotificationStatus, ...] = ()
    settings_error: str | None = None
    next_refresh: float | None = None

    @property
    def not_ready(self) -> tuple[FileStatus, ...]:
        """The files that keep the process from being ready."""
        return tuple(file for file in self.files if not file.is_ready)

    @property
    def is_ready(self) -> bool:
        """Whether every required file is there and fresh enough."""
        return self.started and not self.not_ready
