"""What the sidecar tells of itself: errors with their places, and the snapshot for status pages."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from injector.app.reconcile.request import RefreshSummary
from injector.app.status import SidecarStatus, TokenStatus
from injector.errors import InjectorError, MissingError
from injector.model.policy import OnMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from injector.app.reconcile.clock import Clock
    from injector.app.reconcile.files import ManagedFile
    from injector.app.reconcile.templates import Seen
    from injector.app.reconcile.values import Entry, ValueCache
    from injector.backends.plugin_status import PluginStatus
    from injector.model.references import Reference
    from injector.model.template import Token

MOST_TOLD = 100
"""Errors of one file: finding a place costs a walk through the text."""


def located(
    seen: Seen, error_of: Callable[[Reference], InjectorError | None], *, unless: Callable[[Token], bool] | None = None
) -> tuple[InjectorError, ...]:
    """The error of each reference of a template at its first token; tokens that *unless* is true of are passed over."""
    template = seen.template
    if template is None:
        return ()
    found: dict[Reference, InjectorError] = {}
    for token in template.tokens():
        if token.reference in found or (error := error_of(token.reference)) is None:
            continue
        if unless is not None and unless(token):
            continue
        place = template.source.place(token.start, token.end)
        found[token.reference] = error.at(place, token=template.text_of(token))
        if len(found) == MOST_TOLD:
            break
    return tuple(found.values())


def blocking(seen: Seen, entries: Iterable[Entry]) -> tuple[InjectorError, ...]:
    """The errors of *entries* that leave a token of the template without anything to write in its place."""
    return _unforgiven(seen, (entry for entry in entries if entry.value is None))


def unfresh(seen: Seen, entries: Iterable[Entry]) -> tuple[InjectorError, ...]:
    """The errors of *entries* in whose stead a value of before is used."""
    return _unforgiven(seen, (entry for entry in entries if entry.value is not None))


def _unforgiven(seen: Seen, entries: Iterable[Entry]) -> tuple[InjectorError, ...]:
    errors = {entry.reference: entry.error for entry in entries if entry.error is not None}
    if not errors:
        return ()
    forgives = seen.own.on_missing is not OnMissing.FAIL

    def is_forgiven(token: Token) -> bool:
        missing = isinstance(errors[token.reference], MissingError)
        return missing and (forgives or token.optional or token.default is not None)

    return located(seen, errors.get, unless=is_forgiven)


def report(
    files: Sequence[ManagedFile],
    cache: ValueCache,
    clock: Clock,
    *,
    started: bool,
    plugins: tuple[PluginStatus, ...],
    settings_error: str | None,
) -> SidecarStatus:
    """The whole, as it is now; from any thread."""
    shift = clock.wall() - clock.now()
    due = [entry.due for entry in cache.entries() if entry.due != float("inf")]
    return SidecarStatus(
        started=started,
        files=tuple(file.status(_tokens(file, cache, clock, shift)) for file in files),
        plugins=plugins,
        settings_error=settings_error,
        next_refresh=min(due) + shift if due else None,
    )


def summary(
    files: Sequence[ManagedFile], *, changed: int, references: int, seconds: float, errors: tuple[InjectorError, ...]
) -> RefreshSummary:
    """What one complete pass did; see RefreshSummary."""
    return RefreshSummary(
        files=len(files),
        changed=changed,
        failed=sum(1 for file in files if file.condition.errors),
        references=references,
        seconds=seconds,
        errors=errors,
    )


def _tokens(file: ManagedFile, cache: ValueCache, clock: Clock, shift: float) -> tuple[TokenStatus, ...]:
    now = clock.now()
    tokens: list[TokenStatus] = []
    for reference in sorted(file.references, key=lambda each: each._replace(connection=each.connection or "")):
        entry = cache.get(reference)
        if entry is None:
            continue
        tokens.append(
            TokenStatus(
                id=_identity(reference),
                backend=reference.prefix,
                version=entry.value.version if entry.value else None,
                age=now - entry.fetched_at if entry.fetched_at is not None else None,
                next_refresh=entry.due + shift if entry.due != float("inf") else None,
                error=entry.error.message if entry.error else None,
            )
        )
    return tuple(tokens)


def _identity(reference: Reference) -> str:
    text = "\0".join([reference.prefix, reference.path, reference.metadata, reference.connection or ""])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]
