"""How long a call may take, and whether its asker has gone."""

from __future__ import annotations

import time

from injector.errors import CallTimeout


class Deadline:
    """
    *timeout* seconds from now. The asker's thread may cancel it; the guest's thread looks at it between its steps.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._until = time.monotonic() + timeout
        self._cancelled = False

    def left(self) -> float:
        """Seconds that are left, not below 0."""
        return max(0.0, self._until - time.monotonic())

    def cancel(self) -> None:
        """Ends what runs under this deadline within some epochs, also a guest that sleeps."""
        self._cancelled = True

    def check(self, name: str) -> None:
        """Raises CallTimeout when it is over or was cancelled; *name* is the plugin's."""
        if self._cancelled:
            raise CallTimeout(f"{name}: the call was cancelled")
        if self.left() <= 0:
            raise CallTimeout(
                f"{name} was not done within {self._timeout:g} s",
                hint="raise plugins.callTimeout, or find out what the plugin is waiting for",
            )
