"""What is counted. `Meter` counts nothing, for a single render; `telemetry.metrics` has the one of the sidecar."""

from __future__ import annotations


class Meter:
    """
    Told of what happens, from any thread. Labels are bounded and hold no path of a token and no value.

    `file` is a template's name, `backend` a prefix, `result` a short word; times in seconds.
    """

    def rendered(self, file: str, result: str, seconds: float) -> None:
        """A file was rendered: *result* is `changed`, `unchanged`, `failed` or `stale`."""

    def fetched(self, backend: str, result: str, seconds: float, *, call: str = "fetch") -> None:
        """A call of a backend ended: *call* is `fetch` or `open`, *result* is `ok` or the code of an error."""

    def throttled(self, backend: str) -> None:
        """A backend said that it is asked too often."""

    def cached(self, result: str) -> None:
        """A value was wanted: *result* is `hit`, `miss` or `expired`."""

    def watched(self, source: str) -> None:
        """A reason to look again; *source*: `inotify`, `rescan`, `polling`, `timer`, `push`, `refresh`, `signal`."""

    def notified(self, kind: str, result: str) -> None:
        """A notification ended: *kind* is `signal`, `exec`, `http` or `rollout`, *result* `ok` or `failed`."""

    def reloaded(self, result: str) -> None:
        """The settings were read anew: *result* is `ok` or `failed`."""
