"""What becomes of the instances of one module, counted over all of its connections."""

from __future__ import annotations

import threading
import time

from injector.backends.plugin_status import PluginState, PluginStatus
from injector.errors import CallTimeout, InjectorError


class Fates:
    """Any thread may tell and ask. *name* is the plugin's for messages."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._crashes = self._failed_starts = 0
        self._last_error: str | None = None
        self._loaded_at: float | None = None
        self._lost_at: float | None = None
        self._closed = False

    def loaded(self) -> None:
        """The module can be used from now on, at the latest."""
        self._loaded_at = self._loaded_at or time.time()

    @property
    def is_loaded(self) -> bool:
        """Whether it could ever be used."""
        return self._loaded_at is not None

    def not_opened(self, error: BaseException) -> None:
        """An instance did not come up. A call that was cancelled, or had no time left, says nothing about it."""
        if isinstance(error, InjectorError) and not isinstance(error, CallTimeout):
            with self._lock:
                self._failed_starts += 1
                self._last_error = error.message

    def ended(self, crash: str | None) -> None:
        """An instance was used, and is closed; *crash* is its last word, None when it stood to the end."""
        if crash is not None:
            with self._lock:
                self._crashes += 1
                self._last_error = crash
                self._lost_at = time.time()

    def close(self) -> None:
        """There will be no more instances."""
        self._closed = True

    def status(self) -> PluginStatus:
        """See PluginStatus."""
        with self._lock:
            return PluginStatus(
                name=self._name,
                state=PluginState.CLOSED if self._closed else PluginState.RUNNING,
                starts=int(self.is_loaded),
                crashes=self._crashes,
                failed_starts=self._failed_starts,
                last_error=self._last_error,
                started_at=self._loaded_at,
                lost_at=self._lost_at,
            )
