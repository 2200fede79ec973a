"""
The registry of live secrets, and the one place where text is cleaned of them.

A value can show up as it is, or inside JSON, a URL, or base64: each form is replaced by `***`. Values shorter than
`SHORTEST` are not looked for: replacing every `1` or `on` would destroy the log and tell more than it hides.
"""

from __future__ import annotations

import re
import threading

SHORTEST = 4
MASK = "***"


class Redactor:
    """
    Knows the live values of a run; `clean` masks them.

    Values are kept as they come and their forms are worked out when the first line must be cleaned: most renders
    write no line at all. Safe to use from any thread.
    """

    def __init__(self) -> None:
        self._values: set[bytes] = set()
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()

    def add(self, value: bytes) -> None:
        """Registers a secret's bytes."""
        if len(value) >= SHORTEST and value not in self._values:
            with self._lock:
                self._values.add(value)
                self._pattern = None

    def clear(self) -> None:
        """Forgets all values."""
        with self._lock:
            self._values.clear()
            self._pattern = None

    def clean(self, text: str) -> str:
        """*text* with every known value masked; the longest form wins where two overlap."""
        if not self._values:
            return text
        with self._lock:  # a value that comes while the others are worked out must not be forgotten
            if self._pattern is None:
                forms = set[str]().union(*map(_forms, self._values))
                self._pattern = re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))) or r"(?!)")
            pattern = self._pattern
        return pattern.sub(MASK, text)


def _forms(value: bytes) -> set[str]:
    """How *value* could be printed. A trailing line break is often cut before a value is."""
    import base64  # late: most renders write no line
    import json
    import urllib.parse

    text = value.decode("utf-8", "replace").strip()
    if len(text) < SHORTEST:
        return set()
    forms = {text, urllib.parse.quote_plus(text), *(urllib.parse.quote(text, safe=safe) for safe in ("", "/"))}
    forms |= {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    forms |= {base64.b64encode(raw).decode().rstrip("=") for raw in (value, text.encode("utf-8", "replace"))}
    return forms
