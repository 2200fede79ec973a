"""Files that are published all at once, or not at all (`write: set`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from injector.app.reconcile.files import ManagedFile  # noqa: TC001 - msgspec reads the fields' types
from injector.errors import InjectorError  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Mapping


class Member(Struct, frozen=True):
    """A file of the set. `key` is what it is to be made of, `errors` why it cannot be."""

    file: ManagedFile
    key: object
    errors: tuple[InjectorError, ...] = ()


class Survey(Struct):
    """The set as it is to be: `ready` can be rendered, `held` is why nothing may be published."""

    ready: list[Member] = field(default_factory=list)
    held: tuple[InjectorError, ...] = ()

    def add(self, member: Member) -> None:
        """One more; an error of a file that is required holds up all."""
        if not member.errors:
            self.ready.append(member)
        elif member.file.seen.own.required:
            self.held = self.held or member.errors

    @property
    def names(self) -> frozenset[str]:
        return frozenset(member.file.name for member in self.ready)


class FileSet:
    """Which files the set had when it was published last, and whether it may be another one by now."""

    def __init__(self) -> None:
        self.is_dirty = False
        self.names: frozenset[str] = frozenset()
        self._published: Mapping[str, str] = {}

    def is_done(self, survey: Survey) -> bool:
        """Whether the set is published as *survey* has it."""
        return self.names == survey.names and all(one.key == one.file.published for one in survey.ready)

    def is_due(self, survey: Survey) -> bool:
        """Whether *survey* is not what was tried last: it is worth an attempt."""
        return any(one.key != one.file.tried for one in survey.ready) or (
            bool(survey.ready) and self.names != survey.names
        )

    def published(self, paths: Mapping[str, str]) -> list[tuple[str, str]]:
        """The set consists of *paths* (by name) now; gives those, with their names, that it has lost."""
        before, self._published = self._published, paths
        return [(name, path) for name, path in before.items() if name not in paths]
