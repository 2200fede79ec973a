"""When templates are looked at: at once, when they have been quiet for a moment, or again after a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.errors import InjectorError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.app.reconcile.clock import Clock
    from injector.app.reconcile.templates import Look, TemplateReader
    from injector.app.reconcile.timers import Timers
    from injector.app.reconcile.worker import Worker
    from injector.settings.schema import Settings
    from injector.telemetry.logs import Log

LOOK = "look"
"""The timer's name."""
AGAIN = 1.0  # seconds after which a template that is not there is taken for deleted
"""A name that is missing while a directory is swapped is back within this time."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until templates that could not be looked at are looked at again."""


class Looking:
    """
    Looks at the templates in a worker's thread, one look at a time.

    *looked* is called in the event loop with what a look found; it says whether another one is needed to know.
    """

    def __init__(
        self,
        templates: TemplateReader,
        worker: Worker,
        *,
        clock: Clock,
        timers: Timers,
        log: Log,
        looked: Callable[[Look], bool],
    ) -> None:
        self.is_wanted = True
        self.is_under_way = False
        self.error: InjectorError | None = None  # why the last look found nothing out
        self.began_at = float("-inf")  # when the last complete look began
        self._templates = templates
        self._worker = worker
        self._clock = clock
        self._timers = timers
        self._log = log
        self._looked = looked
        self._failures = 0
        self._unsettled_since: float | None = None

    @property
    def has_looked(self) -> bool:
        """Whether it is known what templates there are."""
        return self.began_at > float("-inf")

    def want(self) -> None:
        """They are looked at in the next pass."""
        self._unsettled_since = None
        self._timers.cancel(LOOK)
        self.is_wanted = True

    def want_when_quiet(self, settings: Settings) -> None:
        """They are looked at when nobody says this again for `debounce_min`, or after `debounce_max`."""
        now = self._clock.now()
        if self._unsettled_since is None:
            self._unsettled_since = now
        latest = self._unsettled_since + settings.debounce_max
        self._timers.set(LOOK, max(now, min(now + settings.debounce_min, latest)))

    async def look(self, settings: Settings) -> None:
        """One look; what goes wrong is remembered and told, and the next one is at a timer."""
        self.is_under_way, self.is_wanted = True, False
        began = self._clock.now()
        try:
            look = await self._worker.call(lambda: self._templates.look(settings))
        except InjectorError as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001  # whatever is in a file must not end the sidecar
            fault = f"the templates could not be looked at: {type(error).__name__}"
            self._failed(InputError(fault, hint="this is a fault of injector"))
        else:
            self.error, self._failures = None, 0
            self.began_at = began
            if self._looked(look):
                self._timers.sooner(LOOK, self._clock.now() + AGAIN)
        finally:
            self.is_under_way = False

    def _failed(self, error: InjectorError) -> None:
        self.error = error
        self._failures += 1
        self._log.warning("templates could not be looked at", reason=error.message)
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures, 10))
        self._timers.sooner(LOOK, self._clock.now() + pause)
