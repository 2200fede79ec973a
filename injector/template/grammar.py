"""What a token looks like: its prefixes and separators, and the patterns that find it."""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct

from injector.errors import SettingsError

KNOWN_PREFIXES = frozenset(
    {"AWSPARAMSTR", "AWSSECRETS", "AZKVSECRET", "AZTABLESTORE", "AZAPPCONF", "VAULT", "GCPSECRETS"}
)
"""The prefixes that are tokens whether or not their plugin is installed: a missing plugin is then an error."""

_PREFIX = re.compile(r"[A-Z][A-Z0-9_]*")
_CONTROL = bytes(range(0x20)) + b"\x7f"
_TERMINATORS = _CONTROL + b" \"'`@:?,;)}]<>&\\"
_NOT_KEY_SEPARATORS = "[]{}/.\\=,"  # each already means something in a path, in a key path or around metadata


class Patterns(Struct, frozen=True):
    """
    A grammar in the form that the scanner runs.

    `start` matches the separator of every token start; its `lastindex` is the index into `prefixes` (0 is unused).
    `body` matches path and keys, as far as their bytes go.
    """

    separator: bytes
    prefixes: tuple[str, ...]
    start: re.Pattern[bytes]
    body: re.Pattern[bytes]


class Grammar(Struct, frozen=True):
    """
    The part of the token grammar that settings and plugins decide.

    `prefixes` are the words that start a token, `token_separator` stands between a prefix and the path,
    `key_separator` (one character) between path and keys. Raises SettingsError when one of them could not be told
    from what surrounds it.
    """

    prefixes: frozenset[str]
    token_separator: str = "://"  # noqa: S105  # punctuation, not a password
    key_separator: str = "|"

    def __post_init__(self) -> None:
        for prefix in sorted(self.prefixes):
            _check_prefix(prefix)
        _check_token_separator(self.token_separator)
        _check_key_separator(self.key_separator)

    @property
    def patterns(self) -> Patterns:
        """The compiled form; compiled once for equal grammars."""
        return _compile(self)


def candidate_prefixes(data: bytes, token_separator: str) -> set[str]:
    """
    The upper-case words that stand directly before a separator in `data`, in linear time.

    A word is all of `[A-Z0-9_]` before the separator from its first letter on, so a known prefix may be a suffix of
    it (`XVAULT://` gives `XVAULT`).
    """
    separator = token_separator.encode()
    if separator not in data:
        return set()
    # Backwards the separator comes first: a literal to search for, and no word is read twice.
    pattern = re.compile(re.escape(separator[::-1]) + rb"([A-Z0-9_]+)")
    words = {match[1] for match in pattern.finditer(data[::-1])}
    return {word[::-1].decode("ascii").lstrip("0123456789_") for word in words} - {""}


@lru_cache(maxsize=64)
def _compile(grammar: Grammar) -> Patterns:
    separator = grammar.token_separator.encode()
    # Longest first: where one prefix is the end of another, the longer one is meant.
    prefixes = sorted(grammar.prefixes, key=lambda prefix: (-len(prefix), prefix))
    terminators = _TERMINATORS.replace(grammar.key_separator.encode(), b"")
    return Patterns(
        separator=separator,
        prefixes=("", *prefixes),
        start=re.compile(_start_pattern(prefixes, separator)),
        body=re.compile(b"[^[" + re.escape(terminators) + b"]*"),
    )


def _start_pattern(prefixes: list[str], separator: bytes) -> bytes:
    """
    A pattern that starts with a literal, the separator, since only that is searched for at memory speed.

    What stands before it is then looked at: first the last few bytes against the letters that prefixes have there,
    which is one step and refuses almost everything (`https://`, misspelt prefixes), then prefix by prefix.
    """
    if not prefixes:
        return rb"\Z(?!)"
    escaped = re.escape(separator)
    width = min(map(len, prefixes))
    columns = ("".join(sorted({prefix[at - width] for prefix in prefixes})) for at in range(width))
    ending = "".join(f"[{letters}]" for letters in columns).encode()
    each = b"|".join(b"(?<=(" + prefix.encode() + b")" + escaped + b")" for prefix in prefixes)
    return escaped + b"(?<=" + ending + escaped + b")(?:" + each + b")"


def _check_prefix(prefix: str) -> None:
    if not _PREFIX.fullmatch(prefix):
        raise SettingsError(
            f"{prefix!r} cannot be a token prefix",
            hint="a prefix is an upper-case letter followed by upper-case letters, digits and underscores",
        )


def _check_token_separator(separator: str) -> None:
    if not separator or any(_is_word_or_blank(char) or char == "\\" for char in separator):
        raise SettingsError(
            f"{separator!r} cannot be the token separator",
            hint="use punctuation such as '://' or '#': no letters, digits, underscores, white space, control "
            "characters or backslashes",
        )


def _check_key_separator(separator: str) -> None:
    if len(separator) != 1 or _is_word_or_blank(separator) or separator in _NOT_KEY_SEPARATORS:
        raise SettingsError(
            f"{separator!r} cannot be the key separator",
            hint=f"use one character such as '|' or '^': no letter, digit, underscore, white space, control "
            f"character, and none of {' '.join(_NOT_KEY_SEPARATORS)}",
        )


def _is_word_or_blank(char: str) -> bool:
    # Not printable are the controls, and lone surrogates, which have no bytes.
    return char.isalnum() or char == "_" or char.isspace() or not char.isprintable()
