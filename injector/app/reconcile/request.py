"""What a sidecar is asked for, and what it says when a pass is complete."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - msgspec reads the fields' types
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from msgspec import Struct

from injector.errors import InjectorError  # noqa: TC001 - msgspec reads the fields' types
from injector.model.secret import Secret  # noqa: TC001
from injector.settings.schema import FileSettings  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Sequence


class SidecarRequest(Struct, frozen=True):
    """
    Which templates to keep rendered, and where to.

    *inputs* are files, directories, or `-` for standard input, which is read once. With *output_dir* the files go
    below it, with *output* the one file goes there. With neither, the sink is told the name alone.
    """

    inputs: tuple[str, ...]
    output_dir: Path | None = None
    output: Path | None = None


class Result(Struct, frozen=True):
    """
    A rendered file on its way to a sink.

    `target` is its path, relative to `root` when there is one, otherwise as it is. `own` says how it is written.
    `values` are the secrets in it, for whoever must mask them.
    """

    template: str
    target: Path
    root: Path | None
    data: Secret
    own: FileSettings
    values: tuple[Secret, ...] = ()

    @property
    def path(self) -> Path:
        """The whole path."""
        return self.root / self.target if self.root is not None else self.target


class Sink(Protocol):
    """
    Where results go. All methods may block: they are called from one thread of their own, one at a time.

    Each raises OutputError when it cannot be done; nothing has changed then, or the error says what has.
    """

    def publish(self, result: Result) -> bool:
        """Puts one file in its place. True when its content or its attributes were not those before."""
        ...

    def publish_set(self, results: Sequence[Result]) -> bool:
        """Puts files of one root in place, all at once; what else was there goes. True when anything changed."""
        ...

    def remove(self, path: Path, root: Path | None) -> bool:
        """Removes an output whose template is gone. False when there was none."""
        ...


@runtime_checkable
class BatchSink(Protocol):
    """What a sink offers beside `Sink` when many files at once cost it less than one by one."""

    def publish_many(self, results: Sequence[Result]) -> Sequence[bool]:
        """`publish` for each, in order; all or none. When it raises, they are published one by one."""
        ...


class RefreshSummary(Struct, frozen=True):
    """
    What one complete pass did. `files` are the templates there are, `changed` the outputs that were written,
    `references` the values that were asked for; `seconds` from the wish to the end. `errors` are those that stand now.
    """

    files: int
    changed: int
    failed: int
    references: int
    seconds: float
    errors: tuple[InjectorError, ...] = ()
