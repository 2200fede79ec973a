"""The templates that there are, each scanned once for as long as it stays what it is."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct

from injector.app import scanning, sources
from injector.app.connecting import with_default_connections
from injector.errors import InjectorError, InputChanged
from injector.model.template import Source, Template  # noqa: TC001 - msgspec reads the fields' types
from injector.settings.schema import FileSettings  # noqa: TC001
from injector.template.grammar import Grammar, candidate_prefixes
from injector.template.scanner import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from injector.backends.registry import Registry
    from injector.settings.schema import Settings

_ATTEMPTS = 50  # as in sources: a mount that is replaced faster than it can be read is broken


class Seen(Struct, frozen=True):
    """A template as it was found: scanned, or with what is wrong with it. `output` is empty where it is not known."""

    name: str
    output: str
    own: FileSettings
    template: Template | None = None
    errors: tuple[InjectorError, ...] = ()


class Look(Struct, frozen=True):
    """
    What one look found. `absent` are the inputs, files by name, that do not exist; `unknown` what could not be looked
    into, so that nothing is said about what is in it.
    """

    seen: Mapping[str, Seen]
    absent: frozenset[str]
    unknown: frozenset[str]

    def tells_of(self, name: str) -> bool:
        """Whether it is known that *name*, which was not seen, is not there."""
        parts = name.split("/")
        return not any("/".join(parts[:end]) in self.unknown for end in range(1, len(parts) + 1))


class _Record(Struct, frozen=True):
    """What was made of a text, for as long as text and grammar stay the same."""

    digest: bytes
    own: FileSettings
    words: frozenset[str]
    source: Source
    unset: tuple[InjectorError, ...]
    grammar: Grammar | None = None
    template: Template | None = None


class TemplateReader:
    """
    Looks at the templates of *inputs*. Blocks: for a thread of its own, one call at a time.

    One template that cannot be read or is not well formed costs itself only. With *single* there may be one only.
    """

    def __init__(
        self,
        inputs: tuple[str, ...],
        output_dir: Path | None,
        registry: Registry,
        environment: Mapping[str, str],
        warn: Callable[[str], None],
        *,
        single: bool = False,
    ) -> None:
        self._inputs = inputs
        self._output_dir = output_dir
        self._registry = registry
        self._environment = environment
        self._warn = warn
        self._single = single
        self._warned: set[str] = set()
        self._records: dict[str, _Record] = {}
        self._stdin: Source | None = None
        self._settings: Settings | None = None  # of the last look

    def look(self, settings: Settings) -> Look:
        """All templates as they are now. Raises InputError for a mount that never holds still."""
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(InputChanged):
                return self._look(settings)
        return self._look(settings)

    def _look(self, settings: Settings) -> Look:
        survey = sources.survey(self._inputs, output_dir=self._output_dir, warn=self._warn_once)
        wrong: dict[str, InjectorError] = {}
        for name, problem in survey.problems:
            wrong.setdefault(name, problem)
        if self._single and len(survey.files) > 1:
            wrong |= dict.fromkeys((file.name for file in survey.files), sources.several_for_one(len(survey.files)))
        records: dict[str, _Record] = {}
        for file in survey.files:
            if file.name in wrong:
                continue
            try:
                records[file.name] = self._record(self._read(file), self._own_settings(file.name, settings))
            except InputChanged:
                raise
            except InjectorError as error:
                wrong[file.name] = error
        self._records = self._scanned(records, wrong, settings)
        self._settings = settings
        seen = {file.name: self._seen(file.name, file.output, settings, wrong.get(file.name)) for file in survey.files}
        for name, problem in wrong.items():
            if name not in seen:
                seen[name] = Seen(name, "", settings.for_file(name), errors=(problem,))
        return Look(seen, survey.missing, frozenset(wrong))

    def _read(self, file: sources.TemplateFile) -> Source:
        if file.path is not None:
            return sources.read(file)
        if self._stdin is None:
            self._stdin = sources.read(file)
        return self._stdin

    def _own_settings(self, name: str, settings: Settings) -> FileSettings:
        known = self._records.get(name)
        return known.own if known is not None and settings is self._settings else settings.for_file(name)

    def _record(self, source: Source, own: FileSettings) -> _Record:
        digest = hashlib.sha256(source.data).digest()
        known = self._records.get(source.name)
        if known is not None and known.digest == digest and known.own == own:
            return known
        finished, unset = scanning.substituted(source, own, self._environment)
        words = frozenset(candidate_prefixes(finished.data, own.token_separator))
        return _Record(digest, own, words, finished, tuple(unset))

    def _scanned(
        self, records: dict[str, _Record], wrong: dict[str, InjectorError], settings: Settings
    ) -> dict[str, _Record]:
        prefixes = scanning.known_prefixes(
            {word for record in records.values() for word in record.words}, self._registry
        )
        scanned: dict[str, _Record] = {}
        for name, record in records.items():
            try:
                grammar = scanning.grammar_of(record.own, prefixes)
                if record.template is None or record.grammar != grammar:
                    templates = [scan(record.source, grammar)]
                    (template,) = with_default_connections(templates, settings, self._registry)
                    record = _Record(  # the same text, scanned
                        record.digest, record.own, record.words, record.source, record.unset, grammar, template
                    )
            except InjectorError as error:
                wrong[name] = error
                continue
            scanned[name] = record
        return scanned

    def _seen(self, name: str, output: str, settings: Settings, error: InjectorError | None) -> Seen:
        if error is not None:
            return Seen(name, output, settings.for_file(name), errors=(error,))
        record = self._records[name]
        assert record.template is not None
        errors = (*record.unset, *record.template.problems)
        return Seen(name, output, record.own, None if errors else record.template, errors)

    def _warn_once(self, warning: str) -> None:
        if warning not in self._warned:
            self._warned.add(warning)
            self._warn(warning)
