"""The sidecar's recent past, in numbers: for a chart that is not empty when the page is opened."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

from injector.process.hardening import frames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from injector.telemetry.logs import Log
    from injector.web.looking import Look, SidecarView

MOST_SAMPLES: Final = 720
_STATES: Final = ("ready", "stale", "failed", "pending", "removed")


class History:
    """Looks at a sidecar every *interval* seconds, and keeps the last `MOST_SAMPLES` samples."""

    def __init__(self, view: SidecarView, interval: float, log: Log) -> None:
        self._view = view
        self._interval = interval
        self._log = log
        self._samples: deque[dict[str, Any]] = deque(maxlen=MOST_SAMPLES)
        self._rendered_at: dict[str, float] | None = None  # None: not seen yet

    async def run(self) -> None:
        """Samples until it is cancelled. Whatever goes wrong is a sample, and told in the log if it is our fault."""
        while True:
            look = await self._view.look()
            try:
                self._samples.append(self._sample(look))
            except Exception as error:  # noqa: BLE001  # an answer of another form than ours ends no history
                self._samples.append(_unreachable(look.at))
                where = " < ".join(frames(error.__traceback__))
                self._log.error("the sidecar's status cannot be read", kind=type(error).__qualname__, where=where)
            await asyncio.sleep(self._interval)

    def document(self) -> dict[str, Any]:
        """The answer of GET /api/history."""
        return {"interval": self._interval, "samples": list(self._samples)}

    def _sample(self, look: Look) -> dict[str, Any]:
        if look.status is None:
            return _unreachable(look.at)
        files = look.status["files"]
        states = Counter(file["state"] for file in files)
        ages = [token["age"] for file in files for token in file["tokens"] if token["age"] is not None]
        return {
            "at": look.at,
            "reachable": True,
            "ready": bool(look.status["ready"]),
            "files": {state: states[state] for state in _STATES},
            "oldestAge": max(ages, default=None),
            "rendered": self._newly_rendered(files),
        }

    def _newly_rendered(self, files: list[Mapping[str, Any]]) -> int:
        """How many files were rendered since the last time that the sidecar was seen."""
        now = {file["template"]: float(file["renderedAt"]) for file in files if file["renderedAt"] is not None}
        before, self._rendered_at = self._rendered_at, now
        return 0 if before is None else sum(before.get(name) != moment for name, moment in now.items())


def _unreachable(at: float) -> dict[str, Any]:
    files = dict.fromkeys(_STATES, 0)
    return {"at": at, "reachable": False, "ready": None, "files": files, "oldestAge": None, "rendered": 0}
