"""When a value is asked for again."""

from __future__ import annotations

from msgspec import Struct

from injector.errors import (
    InjectorError,
    PluginIntegrity,
    PluginNotFound,
    PluginNotLocked,
    PluginRefused,
    ResolutionError,
    UnavailableError,
)
from injector.model.references import Value  # noqa: TC001 - msgspec reads the fields' types

JITTER = 0.1  # of the interval, to either side
SPREAD = 0.5  # the first interval is shorter by up to this part: replicas that began together part
SHARE_OF_LIFE = 2 / 3  # of a lease or a time to live
SHORTEST = 1.0  # seconds between two attempts, whatever a backend says of a value's life
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
FIRST_SLOW_PAUSE = 10.0
LONGEST_SLOW_PAUSE = 300.0
_SETTLED = (PluginNotFound, PluginRefused, PluginIntegrity, PluginNotLocked)
_MOST_DOUBLINGS = 30  # a year of failures must not overflow a float


class Schedule(Struct, frozen=True):
    """`refresh` is the setting, in seconds; None: only values that say how long they live are asked for again."""

    refresh: float | None

    @property
    def slack(self) -> float:
        """Seconds by which a value may be asked for early, to be in a batch with others."""
        return 0.05 * self.refresh if self.refresh is not None else SHORTEST

    def after_success(self, value: Value, draw: float, *, is_first: bool) -> float:
        """Seconds until *value* is asked for again; *draw* is in [0, 1). Infinity for never."""
        refresh_factor = 1.0 - SPREAD * draw if is_first else 1.0 + JITTER * (2.0 * draw - 1.0)
        times = [self.refresh * refresh_factor] if self.refresh is not None else []
        lives = [value.ttl, value.lease.duration if value.lease else None]
        # What ends is never asked for later than that: jitter makes it earlier only.
        times += [max(SHORTEST, life * SHARE_OF_LIFE * (1.0 - JITTER * draw)) for life in lives if life is not None]
        return min(times, default=float("inf"))

    def after_failure(self, error: InjectorError, failures: int, draw: float) -> float:
        """
        Seconds until what failed *failures* times in a row is asked for again: exponential, with full jitter.

        What may go away by itself is asked for soon; what somebody has to mend (denied, missing) slowly.
        """
        if _needs_mending(error):
            first, longest = FIRST_SLOW_PAUSE, max(LONGEST_PAUSE, self.refresh or LONGEST_SLOW_PAUSE)
        else:
            first, longest = FIRST_PAUSE, min(LONGEST_PAUSE, self.refresh or LONGEST_PAUSE)
        ceiling = min(longest, first * 2.0 ** min(failures, _MOST_DOUBLINGS))
        floor = min(first, ceiling)
        asked = (error.retry_after or 0.0) if isinstance(error, ResolutionError) else 0.0
        return max(asked, floor + draw * (ceiling - floor))


def _needs_mending(error: InjectorError) -> bool:
    if isinstance(error, ResolutionError):
        return not isinstance(error, UnavailableError)
    return isinstance(error, _SETTLED)
