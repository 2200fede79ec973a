"""From a template's text to its tokens: what the settings of its file and the installed plugins make of it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from injector.template.envsubst import substitute
from injector.template.grammar import KNOWN_PREFIXES, Grammar, candidate_prefixes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from injector.backends.registry import Registry
    from injector.errors import InjectorError
    from injector.model.template import Source
    from injector.settings.schema import FileSettings


def substituted(
    source: Source, own: FileSettings, environment: Mapping[str, str]
) -> tuple[Source, Sequence[InjectorError]]:
    """*source* with its variables replaced, if its settings ask for that, and what is wrong with them."""
    return substitute(source, environment) if own.envsubst else (source, ())


def prefixes_of(sources: Iterable[tuple[Source, FileSettings]], registry: Registry) -> frozenset[str]:
    """The prefixes that start a token in any of *sources*."""
    words: set[str] = set()
    for source, own in sources:
        words |= candidate_prefixes(source.data, own.token_separator)
    return known_prefixes(words, registry)


def known_prefixes(words: Iterable[str], registry: Registry) -> frozenset[str]:
    """The prefixes that start a token where *words* stand before separators; see `grammar.candidate_prefixes`."""
    return KNOWN_PREFIXES | registry.prefixes(frozenset(words))


def grammar_of(own: FileSettings, prefixes: frozenset[str]) -> Grammar:
    """
    The grammar of a file with the settings *own*.

    Raises SettingsError for separators that cannot be told from what surrounds them.
    """
    return _grammar(prefixes, own.token_separator, own.key_separator)


@lru_cache(maxsize=64)
def _grammar(prefixes: frozenset[str], token_separator: str, key_separator: str) -> Grammar:
    # One object for all files of a run: it checks itself when it is made.
    return Grammar(prefixes, token_separator, key_separator)
