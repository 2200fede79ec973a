"""
From what a WASM plugin says of a failure to an error of ours: one set of kinds for both flavours.

The kinds are those of plugin protocol 2, as words. A plugin's own text reaches the message, as with protocol 2: the
specification says that it holds no value. It is cut, put on one line, and cleaned of the values that are known.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from injector import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from injector.errors import ResolutionError
    from injector.telemetry.redaction import Redactor

KINDS: Final[Mapping[str, type[ResolutionError]]] = {
    "not_found": errors.ValueNotFound,
    "denied": errors.AccessDenied,
    "credentials": errors.CredentialsRefused,
    "invalid": errors.InvalidReference,
    "throttled": errors.Throttled,
    "unavailable": errors.BackendUnavailable,
    "timeout": errors.CallTimeout,
}
"""The words that a plugin may say; anything else counts as unavailable."""

_SAID: Final = re.compile(rf"({'|'.join(KINDS)})(?: (\d{{1,5}}(?:\.\d{{1,3}})?))?: (.*)", re.DOTALL)

_HINTS: Final[Mapping[str, str]] = {
    "not_found": "check the path; a token may be given a default or be made optional",
    "denied": "check what the plugin's identity is allowed to read",
    "credentials": "check the credentials that the plugin is configured with",
}
_LONGEST_TEXT: Final = 2000
_LONGEST_RETRY_AFTER: Final = 86_400.0  # seconds: a day


class Said(NamedTuple):
    """A failure in the words of a plugin: one of KINDS, the pause in seconds that it asks for, its text."""

    kind: str
    retry_after: float | None
    text: str


def parsed(said: str) -> Said | None:
    """*said* taken apart when it begins with a kind, such as `throttled 2.5: text`; None for any other text."""
    match = _SAID.fullmatch(said)
    if match is None:
        return None
    kind, pause, text = match.groups()
    return Said(kind, float(pause) if pause else None, text)


def failure(
    kind: str, text: str, *, plugin: str, what: object, redactor: Redactor, retry_after: float | None = None
) -> ResolutionError:
    """
    The error for a failure of *kind* (see KINDS).

    *text* is the plugin's own, empty when it gave none; *what* is what was asked for, such as a Reference.
    *retry_after* is in seconds, and left out when it is no sensible pause.
    """
    said = shown(text, redactor) or f"{_PHRASES.get(kind, 'gave no value for')} {what}"
    if retry_after is not None and not (math.isfinite(retry_after) and 0 <= retry_after <= _LONGEST_RETRY_AFTER):
        retry_after = None
    error = KINDS.get(kind, errors.BackendUnavailable)
    return error(f"{plugin}: {said}", hint=_HINTS.get(kind), retry_after=retry_after)


_PHRASES: Final[Mapping[str, str]] = {
    "not_found": "has no value for",
    "denied": "was denied access to",
    "credentials": "has no valid credentials for",
    "invalid": "can make no sense of",
    "throttled": "was throttled at",
    "timeout": "was not answered in time for",
}


def shown(text: str, redactor: Redactor) -> str:
    """A plugin's text fit for a message: without known values, cut, on one line, without control characters."""
    cleaned = redactor.clean(text)[:_LONGEST_TEXT]  # in this order: the cut could go through a value
    return "".join(char if char.isprintable() else " " for char in cleaned).strip()
