"""
Templates looked at without fetching anything: what is in them, who would answer, and what is wrong.

Each template is looked at by itself: what is wrong with one is told beside what the others hold.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.app import sources
from injector.app.rendering import scan_all
from injector.backends import discovery
from injector.backends.registry import BUILTIN_PREFIXES
from injector.errors import InjectorError, RunFailed, UnknownPrefix
from injector.template.grammar import KNOWN_PREFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from injector.backends.builtin.recorded import Recorded
    from injector.backends.discovery import Candidate, SearchPath
    from injector.backends.registry import Registry
    from injector.backends.verification import Verification
    from injector.model.references import Reference
    from injector.model.template import Source, Template, Token
    from injector.settings.schema import FileSettings, Settings
    from injector.telemetry.logs import Log


class Answering(Struct, frozen=True):
    """
    Who answers for a prefix. `kind` is `builtin`, `goplugin`, `distribution`, `wasm`, `values` or `none`.

    `reason` says why that one, `instead_of` has the locations that it goes before, `error` is why it would not start.
    """

    prefix: str
    kind: str
    name: str
    reason: str
    instead_of: tuple[str, ...] = ()
    error: InjectorError | None = None


class Inspected(Struct, frozen=True):
    """One template, with the settings that hold for it."""

    template: Template
    output: str
    settings: FileSettings


class Inspection(Struct, frozen=True):
    """
    All that was seen. `problems` would end a render, `warnings` would not; every one that can has its place.

    `unread` are those problems that kept a template from being looked at; `refused` has why tokens of a prefix cannot
    have a connection, by (prefix, name).
    """

    files: tuple[Inspected, ...]
    backends: Mapping[str, Answering]
    refused: Mapping[tuple[str, str], InjectorError]
    unread: tuple[InjectorError, ...]
    problems: tuple[InjectorError, ...]
    warnings: tuple[InjectorError, ...]

    @property
    def tokens(self) -> Iterable[tuple[Inspected, Token]]:
        """Every token with its template, in the order of the text."""
        return ((file, token) for file in self.files for token in file.template.tokens())


def inspect(
    inputs: Sequence[str],
    settings: Settings,
    registry: Registry,
    search: SearchPath,
    verification: Verification,
    *,
    environment: Mapping[str, str],
    output_dir: Path | None,
    recorded: Recorded | None = None,
    log: Log,
) -> Inspection:
    """
    Looks at *inputs* as a render would, with the values of *recorded* if there are any.

    Nothing is started or fetched, and no connection is opened. Raises what `sources.collect` raises.
    """
    problems: list[InjectorError] = []
    warnings: list[InjectorError] = []
    files: list[Inspected] = []
    for file in sources.collect(inputs, output_dir=output_dir, warn=log.warning):
        try:
            source = sources.read(file)
            (template,) = scan_all([source], settings, registry, environment=environment)
        except InjectorError as error:
            problems += error.errors if isinstance(error, RunFailed) else [error]
            continue
        own = settings.for_file(file.name)
        files.append(Inspected(template, file.output, own))
        warnings += near_misses(source, own, KNOWN_PREFIXES | registry.prefixes(frozenset()))
    used = {token.reference.prefix for seen in files for token in seen.template.tokens()}
    backends = {prefix: answering(prefix, search, verification, recorded) for prefix in sorted(used)}
    refused = refused_connections((token.reference for seen in files for token in seen.template.tokens()), registry)
    unread = tuple(problems)
    for seen in files:
        for token in seen.template.tokens():
            prefix, connection = token.reference.prefix, token.reference.connection
            for refusal in (backends[prefix].error, refused.get((prefix, connection or ""))):
                if refusal is not None:
                    place = seen.template.source.place(token.start, token.end)
                    problems.append(refusal.at(place, token=seen.template.text_of(token)))
    return Inspection(tuple(files), backends, refused, unread, tuple(problems), tuple(warnings))


def refused_connections(references: Iterable[Reference], registry: Registry) -> Mapping[tuple[str, str], InjectorError]:
    """Why tokens of a prefix cannot have a connection that they have, by (prefix, name). No seal is opened."""
    refused: dict[tuple[str, str], InjectorError] = {}
    for prefix, name in sorted({(each.prefix, each.connection) for each in references if each.connection}):
        try:
            registry.check_connection(prefix, name)
        except InjectorError as error:
            refused[prefix, name] = error
    return refused


def answering(
    prefix: str, search: SearchPath, verification: Verification, recorded: Recorded | None = None
) -> Answering:
    """Who would be asked for *prefix*, and why. Never raises for a plugin that is missing or refused."""
    if recorded is not None and (prefix not in BUILTIN_PREFIXES or recorded.answers_for(prefix)):
        return Answering(prefix, "values", f"the file {recorded.origin}", "it stands in for the stores")
    if prefix in BUILTIN_PREFIXES:
        return Answering(prefix, "builtin", f"{prefix} (built in)", "built-in prefixes cannot be taken over")
    try:
        candidate = discovery.find(search, prefix)
        verification.admit(candidate, search.platform)
    except InjectorError as error:
        return Answering(prefix, "none", f"plugin {prefix.lower()}", "", error=error)
    others = tuple(
        other.location for other in discovery.discover(search) if other.prefix == prefix and other.loses_to is not None
    )
    return Answering(prefix, candidate.kind.value, str(candidate), _why(candidate, search), others)


def _why(candidate: Candidate, search: SearchPath) -> str:
    if candidate.kind is discovery.Kind.DISTRIBUTION:
        return f"it comes with an installed package, and none of {len(search.places)} directories has another"
    return f"it is the first that is found: {candidate.origin}"


_SCHEMES = frozenset({"FILE", "ENV"})  # file:// is an address far more often than it is a token


def near_misses(source: Source, own: FileSettings, prefixes: frozenset[str]) -> list[InjectorError]:
    """Words before a separator that are no prefix and nearly one: text to the scanner, a mistake to a person."""
    import difflib  # late: start-up

    found: list[InjectorError] = []
    words = re.compile(rb"(?<![A-Za-z0-9_])([A-Za-z][A-Za-z0-9_]{2,30})" + re.escape(own.token_separator.encode()))
    verdicts: dict[str, str | None] = {}
    for match in words.finditer(source.data):
        word = match[1].decode("ascii")
        if word not in verdicts:
            near = difflib.get_close_matches(word.upper(), prefixes - _SCHEMES, n=1, cutoff=0.8)
            is_token = word.endswith(tuple(prefixes))
            verdicts[word] = None if is_token or not near else near[0]
        if (meant := verdicts[word]) is not None:
            place = source.place(match.start(1), match.end(1))
            hint = f"did you mean {meant}{own.token_separator}…?"
            found.append(UnknownPrefix(f"{word} is no token prefix: this stays as it is", hint=hint, place=place))
    return found
