"""The two places where results go: files, and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from injector.app.publishing import publish_request
from injector.errors import OutputError
from injector.output import publisher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from injector.app.reconcile.request import Result
    from injector.model.secret import Secret


class FileSink:
    """Files on disk, by `injector.output`."""

    def publish(self, result: Result) -> bool:
        """See Sink."""
        request = publish_request(result.target, result.data, result.own, root=result.root)
        return publisher.publish([request])[0].changed

    def publish_set(self, results: Sequence[Result]) -> bool:
        """See Sink."""
        requests = [publish_request(one.target, one.data, one.own, root=one.root) for one in results]
        return any(done.changed for done in publisher.publish(requests))

    def remove(self, path: Path, root: Path | None) -> bool:
        """See Sink."""
        whole = root / path if root is not None else path
        try:
            whole.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise OutputError(f"{whole} cannot be removed: {error.strerror}") from None
        return True


class MemorySink:
    """Results that stay in memory, by their targets: for values that must not lie on a disk."""

    def __init__(self) -> None:
        self._results: Mapping[Path, Secret] = {}

    @property
    def results(self) -> Mapping[Path, Secret]:
        """What was published last, by target; replaced as a whole by each change."""
        return self._results

    def publish(self, result: Result) -> bool:
        """See Sink."""
        if self._results.get(result.path) == result.data:
            return False
        self._results = {**self._results, result.path: result.data}
        return True

    def publish_set(self, results: Sequence[Result]) -> bool:
        """See Sink."""
        changed = self._results != {one.path: one.data for one in results}
        self._results = {one.path: one.data for one in results}
        return changed

    def remove(self, path: Path, root: Path | None) -> bool:
        """See Sink."""
        whole = root / path if root is not None else path
        left = {other: data for other, data in self._results.items() if other != whole}
        was_there = len(left) < len(self._results)
        self._results = left
        return was_there
