"""Which files there are, by what looks find: the new, the changed, those that are gone, and those that only seem so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from injector.app.reconcile.files import ManagedFile
from injector.app.status import FileState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from injector.app.reconcile.clock import Clock
    from injector.app.reconcile.templates import Look, Seen
    from injector.model.references import Reference


class Taken(Struct):
    """
    What a look has changed. `changed` are names of files to be rendered, `gone` those whose templates were deleted,
    `forgotten` names that nothing is known of any more. *again*: something is missing, another look tells more.
    """

    changed: list[str]
    gone: list[ManagedFile]
    forgotten: list[str]
    again: bool = False


class Tracker:
    """The managed files by name, and which of them use a reference."""

    def __init__(self, clock: Clock) -> None:
        self.files: dict[str, ManagedFile] = {}
        self.users: dict[Reference, set[str]] = {}
        self._clock = clock
        self._suspects: dict[str, float] = {}  # what went wrong with a name that is no known template, since when

    @property
    def is_sure(self) -> bool:
        """Whether every name that was seen is known to be a template, or not to be."""
        return not self._suspects

    def take(self, look: Look, *, grace: float) -> Taken:
        """Takes what a look found. A file that is not there for *grace* seconds is taken for deleted."""
        now = self._clock.now()
        taken = Taken([], [], [])
        suspects: dict[str, float] = {}
        for name, seen in look.seen.items():
            file = self.files.get(name)
            if file is not None and name in look.absent and file.seen.output:
                continue
            if file is None and not seen.output and self.files:
                # Something beside the templates that are known: an input that is missing for the moment of a swap.
                since = suspects[name] = self._suspects.get(name, now)
                if now - since < grace:
                    taken.again = True
                    continue
            if self._seen(seen):
                taken.changed.append(name)
        self._suspects = {name: since for name, since in suspects.items() if now - since < grace}
        for file in list(self.files.values()):
            if (file.name not in look.seen or file.name in look.absent) and file.seen.output:
                self._missing(file, look, now, grace, taken)
            elif file.name not in look.seen:
                self.forget(file)
                taken.forgotten.append(file.name)
        return taken

    def forget(self, file: ManagedFile) -> None:
        """Nothing is to be known of *file* any more."""
        self.leave(file.name, file.references)
        self.files.pop(file.name, None)

    def leave(self, name: str, references: Iterable[Reference]) -> None:
        """The file *name* does not use *references* any more."""
        for reference in references:
            users = self.users.get(reference)
            if users is not None:
                users.discard(name)
                if not users:
                    del self.users[reference]

    def _seen(self, seen: Seen) -> bool:
        """True when the file is new, or its template is another one."""
        file = self.files.get(seen.name)
        if file is None:
            file = self.files[seen.name] = ManagedFile(seen, self._clock)
        elif not self._retake(file, seen):
            return False
        for reference in file.references:
            self.users.setdefault(reference, set()).add(file.name)
        file.tried = None
        return True

    def _retake(self, file: ManagedFile, seen: Seen) -> bool:
        before = file.references
        changed = file.take(seen)
        self.leave(file.name, before - file.references)
        return changed

    def _missing(self, file: ManagedFile, look: Look, now: float, grace: float, taken: Taken) -> None:
        if file.condition.state is FileState.REMOVED:
            return
        if file.name not in look.absent and not look.tells_of(file.name):
            file.absent_since = None
            return
        if file.absent_since is None:
            file.absent_since = now
        if now - file.absent_since < grace:
            taken.again = True
        else:
            taken.gone.append(file)
