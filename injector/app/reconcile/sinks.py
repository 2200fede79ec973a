"""The two places where results go: files and memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from injector.app.outputs import Output, publish_outputs
from injector.output.removal import remove

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from injector.app.reconcile.request import Result
    from injector.model.secret import Secret


class FileSink:
    """Files on disk, by `injector.output`."""

    def publish(self, result: Result) -> bool:
        """See Sink."""
        return _written([result])[0]

    def publish_many(self, results: Sequence[Result]) -> Sequence[bool]:
        """See BatchSink. All are below one directory, or none is below any."""
        return _written(results)

    def publish_set(self, results: Sequence[Result]) -> bool:
        """See Sink."""
        return any(_written(results))

    def remove(self, path: Path, root: Path | None) -> bool:
        """See Sink."""
        if root is None:
            return remove(Path(path.name), path.parent)
        return remove(path, root)


def _written(results: Sequence[Result]) -> list[bool]:
    outputs = [Output(result.target, result.data, result.own) for result in results]
    (root,) = {result.root for result in results}
    return [done.changed for done in publish_outputs(outputs, root)]


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
        return self.publish_many([result])[0]

    def publish_many(self, results: Sequence[Result]) -> Sequence[bool]:
        """See BatchSink."""
        changed = [self._results.get(result.path) != result.data for result in results]
        if any(changed):
            self._results = {**self._results, **{result.path: result.data for result in results}}
        return changed

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
